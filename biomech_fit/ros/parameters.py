"""ROS parameters from the declarations in `config`: described, ranged, and checked when they are set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from biomech_fit.config.load import from_mapping
from biomech_fit.config.setting import checked_value, default_of, leaves, unknown_name, valid_values
from biomech_fit.core.errors import InputError

T = TypeVar("T")


AT_START = "while the node runs; start it anew with another value"
"""Why a parameter that is read at the start cannot be set."""


def declare(node: Node, settings: Any, locked: Callable[[], str | None] = lambda: None, prefix: str = "", fixed: bool = False) -> None:
    """Declares every setting of a configuration dataclass; its values are the defaults, nested groups become dotted names.

    Args:
        node: the node that gets them. Values given at its start win.
        settings: an instance, e.g. ``FitterNodeConfig()``.
        prefix: of all names, e.g. ``sim.``.
        locked: why settings that need a new configuration (all under ``fit.`` and those so marked) cannot be set now, as the end of a sentence;
            None = they can.
        fixed: all are read at the start only, and cannot be set afterwards.

    Raises:
        InputError: a value given at the start is not valid; names the parameter and the valid values.
    """
    entries = {prefix + name: entry for name, entry in leaves(type(settings))}
    for name, entry in entries.items():
        default = _plain(_value(settings, name.removeprefix(prefix)))
        _mend(node._parameter_overrides, name, entry)
        try:
            node.declare_parameter(name, default, _descriptor(entry))
            checked_value(entry, node.get_parameter(name).value, f"Parameter {name}")
        except (InvalidParameterValueException, InvalidParameterTypeException):
            given = node._parameter_overrides[name].value if name in node._parameter_overrides else None
            raise InputError(f"Parameter {name} is {given!r}; it must be {valid_values(entry)}.") from None

    def check(parameters: list[Parameter]) -> SetParametersResult:
        reason = locked()
        for parameter in parameters:
            entry = entries.get(parameter.name)
            if entry is None:
                continue
            if fixed:
                return SetParametersResult(successful=False, reason=f"Parameter {parameter.name} cannot be set {AT_START}.")
            if reason is not None and (entry.metadata["restart"] or parameter.name.startswith("fit.")):
                return SetParametersResult(successful=False, reason=f"Parameter {parameter.name} cannot be set {reason}.")
            try:
                checked_value(entry, parameter.value, f"Parameter {parameter.name}")
            except InputError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)


def warn_of_unknown(node: Node) -> None:
    """Says which parameters given at the start the node does not have: ROS ignores them, and one file may be for several nodes. To be called last."""
    names = [name for name in node.get_parameters_by_prefix("") if not name.startswith("qos_overrides.")]
    for name in node._parameter_overrides:
        if not node.has_parameter(name) and not name.startswith("qos_overrides."):
            node.get_logger().warning(f"{unknown_name(name, names, f'{node.get_name()} ignores a parameter: it')}")


def _mend(overrides: dict[str, Parameter], name: str, entry: Any) -> None:
    """What YAML makes of a value: y is a boolean there, and an empty list has no type."""
    given = overrides.get(name)
    if given is None:
        return
    if given.value is True and "y" in entry.metadata["choices"]:
        overrides[name] = Parameter(name, value="y")
    elif given.value is None and isinstance(default_of(entry), tuple):
        overrides[name] = Parameter(name, Parameter.Type.STRING_ARRAY, [])


def read(node: Node, settings: T, prefix: str = "") -> T:
    """The node's parameters in the form of `settings`. Raises InputError."""
    values = {name: node.get_parameter(prefix + name).value for name, _ in leaves(type(settings))}
    return from_mapping(values, settings)


def _value(settings: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        settings = getattr(settings, part)
    return settings


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _descriptor(entry: Any) -> ParameterDescriptor:
    meta, default = entry.metadata, default_of(entry)
    text = f"{meta['doc']} Valid: {valid_values(entry)}."
    # A YAML file writes 1 for 1.0: types are checked by us, so that whole numbers pass where numbers are wanted.
    descriptor = ParameterDescriptor(description=text, dynamic_typing=True)
    low, high = meta["low"], meta["high"]
    if low is not None and high is not None and not isinstance(default, bool):
        if isinstance(default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        elif isinstance(default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    elif meta["choices"]:
        descriptor.additional_constraints = valid_values(entry)
    return descriptor
