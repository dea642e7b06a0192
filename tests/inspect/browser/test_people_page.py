"""The admin's page: other roles, new passwords, links taken back."""


def test_every_choice_can_be_read_whole(browser_of, page_server):
    page = browser_of("root").new_page()
    page.goto(f"{page_server[0].url}/people")
    page.locator("body[data-ready=true]").wait_for()
    for width in (1366, 1024, 1920):
        page.set_viewport_size({"width": width, "height": 768})
        cut = page.evaluate(
            """() => [...document.querySelectorAll("select")].filter((select) => {
              const whole = select.cloneNode(true);
              whole.style.cssText = "width: auto; position: absolute; display: inline-block";
              select.after(whole);
              const needed = whole.offsetWidth;
              whole.remove();
              return needed > select.offsetWidth;
            }).map(({ name, ariaLabel }) => name || ariaLabel)"""
        )
        assert cut == [], width
    page.close()


def test_roles_passwords_and_links_by_keyboard(browser_of, page_server):
    page = browser_of("root").new_page()
    page.goto(f"{page_server[0].url}/people")
    page.locator("body[data-ready=true]").wait_for()
    message, link = page.locator("#message"), page.locator("#link")
    page.get_by_label("new password for ada").focus()
    page.keyboard.press("Enter")
    message.filter(has_text="ada chooses a new password").wait_for()
    assert "/join/" in link.inner_text()
    rows = page.locator("#invites tr")
    rows.filter(has_text="a new password").wait_for()  # the link is shown before the list
    assert "a new password" in rows.inner_text()
    page.get_by_label("revoke the link of ada").focus()
    page.keyboard.press("Enter")
    message.filter(has_text="works no longer").wait_for()
    assert rows.count() == 0
    sent = []

    def change(route):
        sent.append(route.request.post_data_json)
        route.fulfill(json={"id": 1, "moved": 3})

    page.route("**/api/people/*", change)
    page.get_by_label("role of bea").select_option("merger")
    message.filter(has_text="bea is merger now; 3 objects given to others").wait_for()
    assert sent == [{"role": "merger"}]
    page.close()
