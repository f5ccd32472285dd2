"""Sealed secrets open with the site's key alone."""

from django.test import override_settings

from core.sealing import seal, unseal


def test_a_sealed_secret_opens_again_and_does_not_show_it() -> None:
    sealed = seal("open sesame")
    assert "sesame" not in sealed
    assert unseal(sealed) == "open sesame"
    assert seal("") == unseal("") == ""


def test_another_site_key_or_a_changed_seal_opens_nothing() -> None:
    sealed = seal("open sesame")
    assert unseal(sealed[:-4] + "AAA=") == ""
    with override_settings(SECRET_KEY="another-key-" * 6):
        assert unseal(sealed) == ""
