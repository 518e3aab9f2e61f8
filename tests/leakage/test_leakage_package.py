from quintain import leakage


def test_every_public_name_is_there():
    assert all(getattr(leakage, name) is not None for name in dir(leakage))


def test_the_part_never_sees_the_accountant(fresh, tmp_path):
    (tmp_path / "program.py").write_text(
        "import sys, quintain.leakage as part\n"
        "[getattr(part, name) for name in dir(part)]\n"
        "print([name for name in sys.modules if name.startswith('quintain.dp')])"
    )
    assert fresh(tmp_path / "program.py", home=tmp_path) == (0, "[]\n", "")
