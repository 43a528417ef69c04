"""Can gists and lenses be learned?  On the smallest task that has an answer: `python -m tools.train` finds out.

    recall     the task: facts in a history of blocks, and questions about them
    feeding    what a base model is fed of histories, in batches: blocks as gists, at LOD0, or left out
    learning   the base model, then gists that stand in for blocks, then a lens by what detail is worth
    study      everything of one seed, measured; also through a store, as users would
    report     the page `docs/recall.md`

Nothing here knows the sizes of the task but by `Recall` and `Sizes`: real text and a larger model on a GPU are other
numbers, and another source of histories.
"""
