"""Writes the public modules of the SDK from its asynchronous ones: ``python -m facade``, in this directory's parent.

Each class in ``cove/_async/<module>.py`` that derives from ``Exposed`` gets a public class in ``cove/<module>.py`` with the same methods,
signatures and documentation, that blocks; methods that do I/O have an ``.aio`` twin. What is written is checked in: users, type
checkers and debuggers see plain modules. A large class is split into parts (:class:`cove._async.base.Part`) in private modules; its public
class is one again, and its module as long as all of them together.

``model``   what a module offers
``parse``   source to model
``render``  model to source
"""
