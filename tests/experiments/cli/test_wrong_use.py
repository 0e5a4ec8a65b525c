"""Wrong use is answered in the words of the command line, with the nearest name and the help."""

import pytest
from command_line import run

from rnnjax._names import option, spelled


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "there is no command 'trian'; did you mean 'train'?"),
        ("PARITY", "there is no command 'PARITY'; did you mean rnnjax train parity?"),
        ("train PARITY", "did you mean 'parity'?"),
        ("train temporal-order", "did you mean 'temporal_order'?"),
        ("train parity --lr 1", "there is no option --lr; did you mean --learning-rate?"),
        ("train parity --Hidden 1", "there is no option --Hidden; did you mean --hidden?"),
        ("train parity --batch 1", "there is no option --batch; did you mean --batch-size?"),
        ("train parity --cell LSTM", "--cell must be one of"),
        ("train parity --cell LSTM", "did you mean 'lstm'?"),
        ("train parity --cell bidirectional_lstm_network", "got 'bidirectional_lstm_network'"),
        ("train parity --hidden 1e3", "'--hidden': expected a whole number, got '1e3'"),
        ("train parity --average x", "'--average': expected a number such as 0.001, got 'x'"),
        ("train parity --flow-every -1", "expected a whole number of at least 0, got '-1'"),
        ("generate x --temperature a", "'--temperature': expected a number"),
        ("train parity --zzz 1", "there is no option --zzz (see rnnjax train parity --help)"),
        ("train parity --hidden", "(see rnnjax train parity --help)"),
        ("generate x --temperature", "(see rnnjax generate --help)"),
        ("train parity --batch-size 0", "--batch-size must be at least 1, got 0"),
        ("train parity --learning-rate nan", "--learning-rate must be a real number, got nan"),
        ("train parity --learning-rate inf", "--learning-rate must be finite"),
        ("train parity --clip-in-loop 0", "--clip-in-loop must be a limit above 0"),
        ("train parity --weight-decay -1", "--weight-decay must be at least 0 and finite"),
        ("train parity --optimizer sgd --weight-decay 1", "--optimizer sgd has no weight decay"),
        ("train parity --warmup 2", "--warmup is a probability in [0, 1)"),
        ("train adding --length 1", "--length must be at least 2, got 1"),
        ("train adding --length 5 --variant hochreiter_1997", "--variant hochreiter_1997 needs"),
        ("train dyck --max-length 3", "--max-length must be even"),
        ("train dyck --test-length 2", "--test-length must exceed --max-length = 50"),
        ("train sine --min-period 1", "2 < --min-period <= --max-period"),
        ("train sine --noise inf", "--noise is a standard deviation"),
        ("train match_to_sample --max-delay 2", "--max-delay must be at least --min-delay = 5"),
        ("train parity --seed -1", "--seed must be at least 0"),
        ("train parity --seed 4294967296", "--seed must be below 2^32"),
        ("train parity --seed 4294967295 --seeds 2", "--seed + --seeds must be at most 2^32"),
        ("generate x --seed 4294967296", "at most 4294967295, got '4294967296'"),
        ("compare --seed 4294967296", "'--seed'"),
        ("train language --text x.txt --unroll-steps 0", "--unroll-steps must be at least 1"),
    ],
)
def test_wrong_use_speaks_of_flags(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, errors = run(*arguments.split())
    assert (code, printed) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1
    assert "()" not in errors
    assert list(tmp_path.iterdir()) == []


def test_flags_are_spoken_of_inside_a_command_alone():
    assert option("top_k", 1) == "top_k=1"
    with spelled({"top_k": "--top-k"}):
        assert (option("top_k", 1), option("k", 1)) == ("--top-k 1", "k=1")
        with spelled({}):
            assert option("top_k") == "top_k"
        assert option("top_k") == "--top-k"
    assert option("top_k") == "top_k"
