"""Visual inspection: the page, its database, merging rules, import and export."""
