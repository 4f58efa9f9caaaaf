"""The rows of Tables 1 and 2: what they read, how they start, and the names of the runs that make them."""

ENCODINGS = ("attention", "tokens")  # column groups of Table 1
UNETS = ("unet", "unet_attention")  # column groups of Table 2: U-Nets on backscatter, alone or with attention maps
# And, where a profile has them: a wider one on backscatter alone, and one with the tokens of one of the profile's arms,
# at its lowest level.
WIDE, HYBRID = "wide", "hybrid"
INITIALISATIONS = ("scratch", "frozen", "unfrozen")  # rows of Tables 1 and 2
# A row more of Table 2, where a profile has it: of a plain U-Net from scratch, of one with tokens pre-trained.
SELF_TRAINED = "self-trained"


def baseline_rows(encoding: str) -> tuple[str, ...]:
    """Rows of Table 2 that exist for a column group: plain U-Nets have no backbone to pre-train."""
    return INITIALISATIONS[:1] if encoding in (UNETS[0], WIDE) else INITIALISATIONS


def written(encoding: str) -> str:
    """An encoding as records and tables write it: "unet+attention" for "unet_attention"."""
    return encoding.replace("_", "+")


def encoding_of(written: str) -> str:
    """The encoding that a record or a table means."""
    return written.replace("+", "_")


def pretraining_run(name: str) -> str:
    """Name of the run of a pre-training, itself named by arm and seed (`Profile.pretrained`)."""
    return f"pretrain-{name}"


def row_kind(encoding: str) -> str:
    """Kind of a row's run and record: "finetune" of Table 1, "baseline" of Table 2."""
    return "finetune" if encoding in ENCODINGS else "baseline"


def row_run(encoding: str, initialisation: str, regions: str = "") -> str:
    """Name of the run that makes a row; those of Table 2 have one pre-training, whose regions they do not name."""
    arm = [regions] if encoding in ENCODINGS else []
    return "-".join([row_kind(encoding), *arm, encoding, initialisation])
