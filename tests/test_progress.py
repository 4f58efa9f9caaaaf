import json

from sardino.progress import track


def test_the_engine_reads_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("SARDINO_PROGRESS", str(tmp_path / "beat.json"))
    seen = [item for item in track(range(4), 4, "counting")]
    assert seen == [0, 1, 2, 3]
    assert json.loads((tmp_path / "beat.json").read_text()) == {"label": "counting", "done": 4, "total": 4}


def test_a_person_sees_a_bar(capsys, monkeypatch):
    monkeypatch.delenv("SARDINO_PROGRESS", raising=False)
    assert list(track(iter("abc"), 3, "letters")) == list("abc")
    assert "letters" in capsys.readouterr().err
