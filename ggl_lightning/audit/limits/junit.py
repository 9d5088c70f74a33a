"""Checks as a JUnit file, which most CI systems show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from ggl_lightning.audit.limits.checks import Check

# What XML 1.0 (section 2.2) allows in no document, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_file(checks: Sequence[Check], suite: str) -> bytes:
    """The file's content.

    Args:
        checks: What was checked: one test case each, failed with its text or passed.
        suite: The suite's name.
    """
    numbers = {
        "tests": str(len(checks)),
        "failures": str(sum(not check.passed for check in checks)),
        "errors": "0",
        "skipped": "0",
    }
    root = ElementTree.Element("testsuites", numbers)
    found = ElementTree.SubElement(root, "testsuite", {"name": _allowed(suite), **numbers})
    for check in checks:
        case = ElementTree.SubElement(
            found,
            "testcase",
            {"classname": f"ggl-audit.{_allowed(check.subject)}", "name": check.what, "time": "0"},
        )
        text = _allowed(check.text)
        if check.passed:
            ElementTree.SubElement(case, "system-out").text = text
        else:
            failure = ElementTree.SubElement(case, "failure", {"type": check.what, "message": text})
            failure.text = text
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _allowed(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
