"""An attribute that is computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class lazy(Generic[Value]):  # noqa: N801 - used as a decorator, like property
    """``functools.cached_property`` without its lock.

    Until Python 3.12 that one takes a lock at each first access, which costs a request more than
    all that it computes. Objects that use this one live in a single task. They have no dictionary
    before somebody asks for it, and nobody does here.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[Value]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> lazy[Value] | Value:
        """Return the value, and leave it in the instance, where it is found next."""
        if instance is None:
            return self
        value = self._compute(instance)
        setattr(instance, self._name, value)
        return value


class frozen_lazy(lazy[Value]):  # noqa: N801
    """The same for an instance that cannot be written to, but has a dictionary."""

    @overload
    def __get__(self, instance: None, owner: type) -> frozen_lazy[Value]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> frozen_lazy[Value] | Value:
        """Return the value, and leave it in the instance's dictionary, where it is found next."""
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
