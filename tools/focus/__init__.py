"""How often does a working context show what a question asks for?  `python -m tools.focus` measures it.

    study    what is measured, on which store, with which questions
    ways     the ways of choosing what is shown: focus, its variations, and what it is compared with
    report   the page `docs/focus.md`

The text, and how questions are made of it, are those of `tools.retrieval`.
"""
