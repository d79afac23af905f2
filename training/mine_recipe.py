"""A mining recipe: one TOML file, read once, checked and frozen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from training.recipe_files import read_recipe
from training.recipe_sections import HUB_PREFIX, Section

RowFormat: TypeAlias = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]
ROW_FORMATS: tuple[RowFormat, ...] = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
TABLE_SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
REPORT_FILES = ("report.json", "report.md", "histogram.png")


class TextFile(Section):
    """Where texts are read from; paths begin at the recipe's `data_root`.

    A file (JSON lines, CSV, TSV, Parquet, Arrow; .gz too), a pattern such as passages/*.parquet, a directory that
    `datasets` saved, a database, or hub:owner/name.
    """

    path: Path
    format: str | None = None
    """What the file is, where its name does not tell."""
    split: str | None = None
    """Of a BEIR directory its judgments (default: train), of a saved directory or Hub dataset also a slice."""
    sql: str | None = None
    """The query, where `path` is an SQLite file."""
    skip_empty: bool = False
    """Leaves out rows without text, which are refused otherwise; the report counts them."""

    @property
    def is_on_hub(self) -> bool:
        """Whether it comes from the Hugging Face Hub."""
        return str(self.path).startswith(HUB_PREFIX)


class Pairs(TextFile):
    """Queries with their right answers: a BEIR directory, or a table with one pair in each row.

    Rows in which the column `label` holds 0 are no right answers; their texts are candidates all the same.
    """

    query: str = "query"
    answer: str = "answer"
    label: str = "label"
    limit: int | None = Field(default=None, ge=1)
    """Most queries mined for, drawn at random with the recipe's seed; the answers of all others stay candidates."""


class Corpus(TextFile):
    """Documents to find negatives in, beside the answers themselves; each different text counts once."""

    text: str = "text"
    title: str | None = None
    """A column that is put in front of the text, with a space between."""
    id: str | None = None
    """A column with the names of documents in run files and judgments; by default they are numbered."""


class Bm25(Section):
    """Lexical retrieval."""

    kind: Literal["bm25"]


class Encoder(Section):
    """A model that turns texts into vectors; its vectors are cached."""

    model: str
    """A directory, an installed package that holds one, or a Hub id."""
    query_prompt: str | None = None
    query_prompt_name: str | None = None
    corpus_prompt: str | None = None
    corpus_prompt_name: str | None = None
    max_length: int | None = Field(default=None, ge=1)
    """Most tokens read of a text, in place of the model's own limit."""
    truncate_dim: int | None = Field(default=None, ge=1)
    """Keeps the first so many numbers of each vector."""
    batch_size: int = Field(default=32, ge=1)
    device: str | None = None
    workers: tuple[str, ...] = ()
    """Devices that encode in processes of their own: ["cuda:0", "cuda:1"], or "cpu" several times."""

    @model_validator(mode="after")
    def _one_prompt_each(self) -> Self:
        for side in ("query", "corpus"):
            if getattr(self, f"{side}_prompt") is not None and getattr(self, f"{side}_prompt_name") is not None:
                raise ValueError(f"{side}_prompt and {side}_prompt_name are both given; remove one of them")
        return self


class Dense(Encoder):
    """Exact search by cosine."""

    kind: Literal["dense"]


class Faiss(Encoder):
    """Search by cosine in an index of FAISS: exact, in clusters, or along a graph of neighbours."""

    kind: Literal["faiss"]
    index: Literal["flat", "ivf", "hnsw"] = "flat"


class Run(Section):
    """Candidates that were found before, in TREC's run format."""

    kind: Literal["run"]
    path: Path


Retriever: TypeAlias = Annotated[Bm25 | Dense | Faiss | Run, Field(discriminator="kind")]


class Scorer(Section):
    """A cross-encoder; its scores are cached."""

    model: str
    """A directory, an installed package that holds one, or a Hub id; with another backend than torch also "default"."""
    backend: Literal["torch", "onnx", "openvino"] = "torch"
    """The others score exported graphs as the service does; batch_size, device and workers are for torch."""
    max_length: int | None = Field(default=None, ge=8)
    batch_size: int = Field(default=32, ge=1)
    device: str | None = None
    workers: tuple[str, ...] = ()
    """Devices that score in processes of their own."""

    @model_validator(mode="after")
    def _of_torch(self) -> Self:
        for name in ("batch_size", "device", "workers"):
            if self.backend != "torch" and name in self.model_fields_set:
                raise ValueError(f'`{name}` is for backend = "torch"; remove it')
        return self


class Teacher(Scorer):
    """A cross-encoder that drops candidates which it takes for right answers."""

    margin: float | None = None
    """Drops a candidate whose score plus this is above the lowest score of the query's right answers."""
    max_score: float | None = None

    @model_validator(mode="after")
    def _drops_something(self) -> Self:
        if self.margin is None and self.max_score is None:
            raise ValueError("a teacher without `margin` and `max_score` drops nothing; give one, or remove [teacher]")
        return self


class Filters(Section):
    """Candidates that are dropped, by score s against the lowest score p of the query's right answers.

    The scores of several fused retrievers are sums of reciprocal ranks, for which margins mean little: use `rescoring`
    or a `teacher` there.
    """

    absolute_margin: float | None = None
    """Drops where s + absolute_margin > p."""
    relative_margin: float | None = None
    """Drops where s > p - |p| relative_margin."""
    max_score: float | None = None
    min_score: float | None = None
    percentile: float | None = Field(default=None, ge=0, le=100)
    """Drops where s is above this percentile of the scores of all right answers."""


class Sampling(Section):
    """Which of the candidates that pass become negatives."""

    num_negatives: int = Field(default=3, ge=1)
    range_min: int = Field(default=0, ge=0)
    """The best so many are passed over."""
    range_max: int | None = Field(default=None, ge=1)
    strategy: Literal["top", "random", "weighted"] = "top"
    temperature: float = Field(default=0.05, gt=0)
    """Of "weighted": chances are proportional to exp(score / temperature)."""
    random_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the negatives that comes from anywhere in the corpus."""


class Output(Section):
    """A file or directory to write, inside the recipe's `output`.

    Rows to train on ("triplet", "n-tuple", "labeled-pair", "labeled-list"), in a table or, where the path has no
    suffix, a directory of `datasets`; "evaluation": samples for the reranking evaluators; "beir": a directory with
    the negatives as judgments of 0; "run": the candidates in TREC's run format.
    """

    path: Path
    format: Literal["triplet", "n-tuple", "labeled-pair", "labeled-list", "evaluation", "beir", "run"] = "triplet"
    scores: bool = False
    """Of rows to train on: adds the scores, or writes them in place of labels."""
    documents: int = Field(default=100, ge=1)
    """Of "evaluation" and "run": candidates of each query."""
    include_positives: bool = True
    """Of "evaluation" and "run": whether the right answers are among the candidates, where the search found them."""

    @property
    def is_rows(self) -> bool:
        """Whether it holds rows to train on."""
        return self.format in ROW_FORMATS

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        suffix = self.path.suffix.lower()
        if self.path.is_absolute() or ".." in self.path.parts or self.path == Path():
            raise ValueError(f"path {str(self.path)!r}: write a name inside the recipe's `output`")
        if self.path.as_posix() in REPORT_FILES:
            raise ValueError(f"path {str(self.path)!r} is the report's; choose another name")
        if (self.is_rows or self.format == "evaluation") and suffix not in (*TABLE_SUFFIXES, ""):
            raise ValueError(f"path {str(self.path)!r}: must end in {', '.join(TABLE_SUFFIXES)}, or have no suffix")
        flat = self.format in ("triplet", "labeled-pair") and not (self.scores and self.format == "triplet")
        flat = flat or (self.format == "n-tuple" and not self.scores)
        if suffix in (".csv", ".tsv") and not flat:
            raise ValueError(f"path {str(self.path)!r}: {suffix} holds no lists; write .jsonl or .parquet")
        self._refuse_unused()
        return self

    def _refuse_unused(self) -> None:
        candidates = self.format in ("evaluation", "run")
        for name in ("documents", "include_positives"):
            if name in self.model_fields_set and not candidates:
                raise ValueError(f"`{name}` is for the formats evaluation and run; remove it")
        if "scores" in self.model_fields_set and not self.is_rows:
            raise ValueError(f"`scores` is for {', '.join(ROW_FORMATS)}; remove it")


class MineRecipe(Section):
    """Everything that determines which negatives are mined and what is written."""

    output: Path
    """The directory to create, with all outputs and the report."""
    data_root: Path = Path()
    cache: Path | None = None
    """Where texts, vectors and scores are kept for the next run; by default OUTPUT.work."""
    cache_limit_gb: float | None = Field(default=None, gt=0)
    """Vectors of earlier runs are deleted, least recently used first, so that the cache stays below."""
    seed: int = 0
    pairs: Pairs
    corpus: Corpus | None = None
    retrievers: tuple[Retriever, ...] = Field(min_length=1)
    fusion_k: int = Field(default=60, ge=1)
    """Several retrievers are fused: a document's score is the sum of 1 / (fusion_k + rank)."""
    rescoring: Scorer | None = None
    """Replaces the retriever's scores, which `filters` and the order of candidates then follow."""
    teacher: Teacher | None = None
    filters: Filters = Filters()
    sampling: Sampling = Sampling()
    outputs: tuple[Output, ...] = (Output(path=Path("triplets.jsonl")),)
    examples: int = Field(default=10, ge=0)
    """Of the hardest negatives and of suspected false ones, how many the report shows."""
    engine: Literal["local", "ray"] = "local"
    """Where texts are encoded and pairs scored: in this process (and the `workers` of a section), or by Ray."""
    engine_workers: int | None = Field(default=None, ge=1)
    """Models at work under Ray; by default one per GPU, or per 4 CPUs."""
    engine_address: str | None = None
    """HOST:PORT of a Ray cluster, or auto; by default what RAY_ADDRESS names, else this machine alone."""

    @property
    def cache_folder(self) -> Path:
        """`cache`, or OUTPUT.work."""
        return self.cache or self.output.with_name(f"{self.output.name}.work")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [output.path.as_posix() for output in self.outputs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two [[outputs]] have the path {twice!r}; give each one of its own")
        if inside := next((a for a in names for b in names if a.startswith(f"{b}/")), None):
            raise ValueError(f"the path {inside!r} of [[outputs]] lies inside another; choose another name")
        if self.engine == "local" and (self.engine_workers is not None or self.engine_address is not None):
            raise ValueError('engine_workers and engine_address are for engine = "ray"; remove them')
        models = [one for one in (*self.retrievers, self.rescoring, self.teacher) if isinstance(one, Encoder | Scorer)]
        if self.engine == "ray" and any(one.workers for one in models):
            raise ValueError('`workers` of a section is for engine = "local"; remove it, or set engine_workers')
        if any(isinstance(one, Run) for one in self.retrievers) and self.corpus and self.corpus.id is None:
            raise ValueError("a run names documents, but [corpus] has no `id`; name the column that holds their names")
        return self


def load_mine_recipe(path: Path, overrides: Sequence[str] = ()) -> MineRecipe:
    """The recipe in `path` after `key=value` overrides. Raises ConfigError naming the key and the remedy."""
    return read_recipe(path, overrides, MineRecipe)
