"""As much of JSON Schema 2020-12 as schema.json uses, so that the files are checked against it without another package."""

import re

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}

KNOWN = {
    "$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties", "required", "propertyNames",
    "additionalProperties", "items", "pattern", "enum", "const", "minItems", "uniqueItems", "minimum", "maximum",
    "minProperties", "minLength", "oneOf",
}  # fmt: skip


def validate(value, schema):
    """Raises Fault at the first value that the schema refuses."""
    _validate(value, schema, schema, "")


def _validate(value, schema, root, at):
    from .vectors import Fault

    def require(holds, why):
        if not holds:
            raise Fault(why, field=at.lstrip(".") or "the file")

    unknown = set(schema) - KNOWN
    require(not unknown, f"the schema uses {unknown}, which this validator does not know")
    if "$ref" in schema:
        _validate(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        require(any(type(value) is TYPES[name] for name in names), f"is not of type {' or '.join(names)}")
    require("enum" not in schema or value in schema["enum"], f"is none of {schema.get('enum')}")
    require("const" not in schema or value == schema["const"], f"is not {schema.get('const')!r}")
    if "oneOf" in schema:
        fits = 0
        for option in schema["oneOf"]:
            try:
                _validate(value, option, root, at)
                fits += 1
            except Fault:
                pass
        require(fits == 1, "has none of the forms that the schema allows")
    if isinstance(value, str):
        require(len(value) >= schema.get("minLength", 0), "is too short")
        require(re.search(schema.get("pattern", ""), value) is not None, f"does not match {schema.get('pattern')}")
    if type(value) is int:
        require(schema.get("minimum", value) <= value <= schema.get("maximum", value), "is out of range")
    if isinstance(value, list):
        require(len(value) >= schema.get("minItems", 0), "has too few elements")
        require(not schema.get("uniqueItems") or len(value) == len({repr(v) for v in value}), "repeats an element")
        for index, item in enumerate(value):
            _validate(item, schema.get("items", {}), root, f"{at}[{index}]")
    if isinstance(value, dict):
        require(len(value) >= schema.get("minProperties", 0), "is empty")
        for name in schema.get("required", []):
            require(name in value, f"lacks {name!r}")
        for name, item in value.items():
            _validate(name, schema.get("propertyNames", {}), root, f"{at}.{name}")
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            require(inner is not False, f"has an unknown member {name!r}")
            _validate(item, inner, root, f"{at}.{name}")
