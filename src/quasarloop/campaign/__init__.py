"""The loop itself: rounds of training, voting, choosing, labelling and judging, as files."""
