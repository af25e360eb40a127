"""The SDK itself: asynchronous classes, one module a noun, each the source of the public module of the same name.

A class here is public when it derives from :class:`cove._async.base.Exposed`; `make facade` writes its blocking face, with an ``.aio``
twin for every method that does I/O, into ``cove/<module>.py``. Names with a leading underscore stay inside.
"""
