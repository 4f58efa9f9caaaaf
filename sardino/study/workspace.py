"""The workspace: where a profile's input, intermediate files and results lie, and what others published of it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sardino.errors import SardinoError
from sardino.files import write_bytes
from sardino.study.profile import Profile, known_profiles, locate


@dataclass(frozen=True)
class Workspace:
    """All paths of one profile in one project folder."""

    profile: Profile
    reference: str  # how a notebook is told the profile: its name, or the path of its TOML file
    root: Path  # the project folder
    data: Path | None  # the folder of real input, if any
    build: Path  # git-ignored folder of everything that can be made again

    @classmethod
    def open(cls, profile: str, data: str | Path = "", root: str | Path | None = None) -> "Workspace":
        """The workspace of a profile; the environment variable SARDINO_BUILD moves its build/ elsewhere.

        Args:
            profile: name of a built-in profile or path of a TOML file.
            data: folder of real input, which must exist; "" for none.
            root: project folder; by default found upwards from the current folder.
        """
        loaded = Profile.load(profile)
        top = Path(root).resolve() if root is not None else project_root()
        folder = Path(data).expanduser().resolve() if str(data) else None
        if folder is not None and not folder.is_dir():
            raise SardinoError(f"the data folder {folder} does not exist: give an existing folder with --data")
        build = top / os.environ.get("SARDINO_BUILD", "build") / loaded.name
        reference = str(profile) if str(profile) in known_profiles() else str(locate(profile))
        return cls(loaded, reference, top, folder, build)

    @property
    def given(self) -> dict[str, str]:
        """The parameters that every notebook has."""
        return {"profile": self.reference, "data": str(self.data or "")}

    @property
    def store(self) -> Path:
        """The tile store most runs read; Pretraining.store names another one beside it."""
        return self.build / "store"

    @property
    def runs(self) -> Path:
        return self.build / "runs"

    @property
    def results(self) -> Path:
        """Published tables and records."""
        return self.root / "results" / self.profile.name

    @property
    def figures(self) -> Path:
        """Published figures."""
        return self.root / "figures" / self.profile.name

    def pretrain(self, arm: str, seed: int | None = None) -> Path:
        """Folder of an arm's weights and checkpoint, pre-trained with the first or another seed, or adopted for all."""
        if adopted := self.profile.arm(arm).adopted:
            return self.root / Path(adopted).expanduser()
        return self.build / "pretrain" / self.profile.pretrained(arm, seed)

    def segmenter(self, run: str) -> Path:
        """Folder of the segmenter that a row's run keeps: of its largest label fraction and first seed."""
        return self.build / "segmenters" / run

    def record(self, run: str) -> Path:
        """The JSON record of a run, its last act."""
        return self.runs / f"{run}.json"

    def newest_record(self, run: str) -> Path:
        """The record of a run in build/, or the published one where there is none."""
        record = self.record(run)
        return record if record.is_file() else self.results / "runs" / record.name

    def notebook(self, run: str) -> Path:
        """The executed notebook of a run."""
        return self.build / "notebooks" / f"{run}.ipynb"

    def failed(self, run: str) -> Path:
        """Where a run that fails leaves its notebook; the message lies beside it as .txt."""
        return self.build / "failed" / f"{run}.ipynb"

    def progress(self, run: str) -> Path:
        """The heartbeat of a run under way: {"label": str, "done": int, "total": int}."""
        return self.build / "progress" / f"{run}.json"

    def input_folder(self) -> Path:
        """The folder of real input, refused where the profile needs one and none was given."""
        if self.data is None:
            needs = ", ".join(self.profile.data.folders)
            raise SardinoError(f"profile '{self.profile.name}' reads real data ({needs}): give --data FOLDER with it")
        return self.data


def project_root(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds both pyproject.toml and notebooks/."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise SardinoError(f"{here} is not inside the sardino project: change to its folder (the one with notebooks/)")


@contextmanager
def setting_aside(space: Workspace, names: Sequence[str]) -> Iterator[None]:
    """While a run writes these files of results/<profile>/: those of others are kept, then its own are noted."""
    for name in names:
        if (there := published_file(space, name)) == space.results / name:
            write_bytes(there.read_bytes(), space.build / "published" / name)
    yield
    for name in names:
        write_bytes((space.results / name).read_bytes(), own_file(space, name))


def own_file(space: Workspace, name: str) -> Path:
    """Where a copy lies of a file that a run here has published."""
    return space.build / "made" / name


def published_file(space: Workspace, name: str) -> Path | None:
    """A file of results/<profile>/ as others published it; None where nobody did.

    It is another's where it is not as a run here left it: it came with a checkout or an archive, or was updated since.
    """
    there, mine, aside = space.results / name, own_file(space, name), space.build / "published" / name
    if there.is_file() and not (mine.is_file() and mine.read_bytes() == there.read_bytes()):
        return there
    return aside if aside.is_file() else None
