from __future__ import annotations

import subprocess
import sys

import pytest

from kerasweep.delivery import check_formats
from kerasweep.delivery.formats import FORMATS
from kerasweep.errors import DeliveryError, MissingExtra
from kerasweep.spec.vocabulary import EXPORT_FORMATS


def test_every_format_of_the_vocabulary_exists() -> None:
    assert tuple(FORMATS) == EXPORT_FORMATS


def test_all_formats_hold_a_family_on_numbers() -> None:
    check_formats(EXPORT_FORMATS)


def test_text_and_onnx_do_not_go_together_and_the_message_says_what_does() -> None:
    check_formats(["keras", "saved_model", "litert"], categories=True)
    with pytest.raises(DeliveryError) as caught:
        check_formats(["keras", "onnx"], categories=True)
    assert str(caught.value) == (
        "columns of text or categories need one of the formats keras, saved_model, litert. Received: onnx"
    )


def test_an_unknown_format_is_named_with_the_nearest() -> None:
    with pytest.raises(DeliveryError, match="Did you mean 'onnx'"):
        check_formats(["onyx"])


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)  # what Python itself takes for "not installed"
    check_formats(["keras", "litert"])
    with pytest.raises(MissingExtra, match=r"pip install 'kerasweep\[onnx\]'"):
        check_formats(["onnx"])


def test_checking_loads_neither_tensorflow_nor_keras() -> None:
    program = (
        "import sys; from kerasweep.delivery import check_formats; check_formats(['keras', 'onnx', 'litert']); "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'sklearn', 'onnx', 'mlflow', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
