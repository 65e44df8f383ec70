"""What is raised in a node that is to stop. Imports nothing: nodes may name these."""


class Interrupted(BaseException):
    """A call was interrupted. No `Exception`, so that a node's `except Exception` lets it through.

    Clean up and let it go on. A node that goes on instead is ended with its worker, soon after.
    """

    def __init__(self, what: str = "the call was interrupted") -> None:
        super().__init__(what)


class DeadlineExceeded(Interrupted):
    """The time that the caller gave is over: whatever the node returns now goes nowhere."""

    def __init__(self, what: str = "the deadline of this call has come; nobody waits for its result any more") -> None:
        super().__init__(what)


class CallCancelled(Interrupted):
    """The caller has left, and the node does not say that it goes on then (`@node(cancel="ignore")`)."""

    def __init__(self, what: str = "the caller of this call has left; nobody waits for its result any more") -> None:
        super().__init__(what)
