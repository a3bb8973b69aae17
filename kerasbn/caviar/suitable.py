"""Why a model, or a way to train it, cannot be one of a stack."""


class Unsuitable(Exception):
    """A model that is to be trained alone; the text is the reason, as a clause.

    Example:
        >>> str(Unsuitable("the optimizer Lion has no stacked update rule"))
        'the optimizer Lion has no stacked update rule'
    """

    ag_pass_through = True  # TensorFlow leaves it as it is when it is raised in a graph
