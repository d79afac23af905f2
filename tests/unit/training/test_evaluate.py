"""`evaluate`: candidates, figures per ranker, files that it writes, and errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from app.errors import ArtifactError
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import Manifest, read_manifest
from training import CrossEncoder as TrainedCrossEncoder
from training.__main__ import main
from training.evaluate_rankers import PARENT_TOKENS, model_scorer, names_of, parent_scorer
from training.publish import seal
from training.recipe import load_recipe

Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def evaluate(data_root: Path, reranker_dir: Path, tmp_path: Path) -> Evaluate:
    """Runs the command on `facts`, where all documents are candidates of all queries; returns what it writes."""

    def run(*arguments: str) -> dict[str, Any]:
        output = tmp_path / "out.json"
        directory = str(data_root / "facts")
        given = ["--split", "train", "--pool", "pools/train.tsv", "--json", str(output), *arguments]
        assert main(["evaluate", str(reranker_dir), directory, *given]) == 0
        return json.loads(output.read_text())["facts"]  # type: ignore[no-any-return]

    return run


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command says when it ends with 2."""
    assert main(["evaluate", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_directory_is_measured_with_intervals_tests_and_a_curve(
    evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = evaluate("--depths", "2", "4")
    assert set(figures) == {"bm25", "model", "size", "details"}
    assert list(figures["bm25"]) == ["ndcg@10", "mrr@10", "map", "recall@10", "recall@100"]
    assert figures["size"] == {"queries": 8, "pairs": 64}
    details = figures["details"]
    (own,) = [one for one in details["comparisons"] if one["measure"] == "map"]
    assert own["difference"] == pytest.approx(figures["model"]["map"] - figures["bm25"]["map"], abs=2e-4)
    assert own["interval"][0] <= own["difference"] <= own["interval"][1]
    assert 0 < own["p_permutation"] <= 1
    low, high = details["intervals"]["model"]["map"]
    assert low <= figures["model"]["map"] <= high
    assert details["curve"]["depths"] == [2, 4, 8]
    assert details["curve"]["means"]["model"][-1] == pytest.approx(figures["model"]["ndcg@10"], abs=1e-4)
    mean = np.mean([own["model"]["map"] for own in details["per_query"].values()])
    assert mean == pytest.approx(figures["model"]["map"], abs=1e-4)
    printed = capsys.readouterr().out
    for words in (
        "facts (8 queries): the first 8 of bm25 over pools/train.tsv reranked; 64 pairs scored",
        "model - bm25",
        "4 reranked",
    ):
        assert words in printed


def test_max_length_cuts_pairs(evaluate: Evaluate, tmp_path: Path) -> None:
    """All candidates are scored either way, with other scores."""
    found = {}
    for name, given in {"whole": [], "cut": ["--max-length", "8"]}.items():
        evaluate("--runs-out", str(tmp_path / name), *given)
        lines = (tmp_path / name / "facts.model.trec").read_text().splitlines()
        found[name] = {tuple(line.split()[0:3:2]): float(line.split()[4]) for line in lines}
    assert found["cut"].keys() == found["whole"].keys()
    assert max(abs(found["cut"][key] - score) for key, score in found["whole"].items()) > 1e-4


def test_the_backend_is_the_one_that_was_asked_for(
    data_root: Path, reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its weights only the graph's own runtimes can load the model."""
    graph_only = tmp_path / "graph_only"
    shutil.copytree(reranker_dir, graph_only, ignore=shutil.ignore_patterns("*.safetensors"))
    command = ["evaluate", str(graph_only), str(data_root / "facts"), "--split", "train", "--pool", "pools/train.tsv"]
    assert main([*command, "--backend", "openvino"]) == 0
    assert main([*command, "--backend", "torch"]) == 2
    assert "model.safetensors" in capsys.readouterr().err


def test_a_model_without_graphs_is_run_by_torch(data_root: Path, reranker_dir: Path, tmp_path: Path) -> None:
    """As training writes one, so that it can be measured at once."""
    plain = tmp_path / "plain"
    shutil.copytree(reranker_dir, plain, ignore=shutil.ignore_patterns("*.onnx", "*.json.gz", "reranker.json"))
    assert main(["evaluate", str(plain), str(data_root / "facts"), "--split", "train"]) == 0


def test_tables_of_a_recipe_are_left_to_training_also_where_only_their_path_tells(
    recipe_file: Path, data_root: Path, parent_dir: Path, reranker_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "lists.jsonl").write_text('{"query": "who", "documents": ["he", "it"], "labels": [1, 0]}\n')
    table = f"[[evaluations]]\nname = 'lists'\npath = '{tmp_path / 'lists.jsonl'}'\nduring = true\n"
    recipe_file.write_text(recipe_file.read_text() + table)
    given = [f"parent={parent_dir}", f"data_root={data_root}", f"output={tmp_path / 'out'}"]
    output = tmp_path / "figures.json"
    command = ["evaluate", str(reranker_dir), str(recipe_file), *given, "--no-baselines", "--json", str(output)]
    assert main(command) == 0
    assert list(json.loads(output.read_text())) == ["facts"]


def test_a_place_for_runs_that_cannot_be_made_is_named_before_anything_is_scored(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is not even a model here."""
    (tmp_path / "file").write_text("")
    error = refused(capsys, tmp_path / "none", data_root / "facts", "--runs-out", tmp_path / "file" / "runs")
    assert error.startswith(f"rerank-training: {tmp_path / 'file' / 'runs'}: ")


def test_a_model_of_classes_gives_nothing_to_rank_by(
    data_root: Path, parent_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kwargs = {"ignore_mismatched_sizes": True}
    model = TrainedCrossEncoder(str(parent_dir), num_labels=3, device="cpu", model_kwargs=kwargs)
    model.save_pretrained(str(tmp_path / "classes"))
    error = refused(capsys, tmp_path / "classes", data_root / "facts", "--split", "train")
    assert "has 3 labels and gives no single score to rank by; evaluate a model with num_labels = 1" in error


def test_options_choose_depth_queries_and_measures(evaluate: Evaluate) -> None:
    figures = evaluate("--depth", "3", "--depths", "3", "--limit", "5", "--measures", "precision@1", "ndcg@2", "map")
    assert figures["size"] == {"queries": 5, "pairs": 15}
    assert list(figures["model"]) == ["precision@1", "ndcg@2", "map"]
    assert figures["details"]["depth"] == 3
    assert figures["details"]["curve"] | {"start": 0, "means": 0, "gains": 0} == {
        "measure": "precision@1",
        "depths": [3],
        "start": 0,
        "means": 0,
        "gains": 0,
    }
    drawn = [list(evaluate("--limit", "3", "--seed", seed)["details"]["per_query"]) for seed in "0012"]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2] or drawn[0] != drawn[3]


def test_run_files_hold_the_rankings_that_were_measured(evaluate: Evaluate, data_root: Path, tmp_path: Path) -> None:
    """ir-measures finds the same figures in them, and so does the command when they are given to it."""
    figures = evaluate("--depth", "4", "--depths", "8", "--runs-out", str(tmp_path / "runs"))
    rows = (data_root / "facts" / "qrels" / "train.tsv").read_text().splitlines()[1:]
    qrels = [ir_measures.Qrel(query, name, int(grade)) for query, name, grade in map(str.split, rows)]
    for ranker in ("bm25", "model"):
        path = tmp_path / "runs" / f"facts.{ranker}.trec"
        assert len(path.read_text().splitlines()) == 64
        found = ir_measures.calc_aggregate(
            [ir_measures.nDCG @ 10, ir_measures.RR @ 10, ir_measures.AP], qrels, ir_measures.read_trec_run(str(path))
        )
        named = {str(key).lower().replace("rr", "mrr").replace("ap", "map"): value for key, value in found.items()}
        assert named == pytest.approx({key: figures[ranker][key] for key in named}, abs=1e-4)
        again = evaluate("--first-stage", str(path), "--depths", "2")
        assert again["run"] == figures[ranker]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["facts.bm25.trec", "facts.model.trec"]


def test_models_are_compared_with_each_other(evaluate: Evaluate, reranker_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(reranker_dir, tmp_path / "other")
    figures = evaluate("--against", str(tmp_path / "other"))
    assert set(figures) == {"bm25", "other", "model", "size", "details"}
    assert figures["other"] == figures["model"]
    pairs = {(one["first"], one["second"]): one["p_permutation"] for one in figures["details"]["comparisons"]}
    assert set(pairs) == {("bm25", "other"), ("bm25", "model"), ("other", "model")}
    assert pairs["other", "model"] == 1.0


def test_names_of_models_are_told_apart() -> None:
    assert names_of(["runs/a", "b/a", "default", "runs/model"], ["bm25", "model"]) == ["a", "a-2", "default", "model-2"]


def test_a_picture_shows_the_curve(evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate("--plot", str(tmp_path / "depth.png"), "--depths", "2", "4")
    evaluate("--plot", str(tmp_path / "depth.svg"), "--depths", "2", "4")
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "depth.svg").read_bytes()


def mean_pooled(directory: Path, text: str) -> torch.Tensor:
    """The embedding of one text by transformers alone, shape (hidden,)."""
    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    ids = torch.tensor([tokenizer(text, truncation=True, max_length=PARENT_TOKENS)["input_ids"]])
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(directory)(input_ids=ids).last_hidden_state
    return torch.nn.functional.normalize(hidden[0].mean(0), dim=0)


def test_the_parents_cosine_is_that_of_mean_pooled_embeddings(reranker_dir: Path) -> None:
    """A text that recurs, and one that is cut, included."""
    long = " ".join(["paris is the capital of france"] * 80)
    pairs = [("paris is the capital", "rome"), ("rome", "rome"), ("rome", long), (long, "a capital city")]
    expected = [float(mean_pooled(reranker_dir, first) @ mean_pooled(reranker_dir, second)) for first, second in pairs]
    assert parent_scorer(reranker_dir)(pairs) == pytest.approx(expected, abs=1e-5)


def test_a_parent_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"parent .*: cannot be loaded as a model of embeddings"):
        parent_scorer(tmp_path)


def test_a_recipe_is_measured_recorded_and_summed_up(
    recipe_file: Path, data_root: Path, reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_file.write_text(
        recipe_file.read_text() + '[[evaluations]]\nname = "more"\npath = "facts"\nsplit = "train"\nlimit = 4\n'
    )
    model = tmp_path / "artifact"
    shutil.copytree(reranker_dir, model)
    seal(model, Manifest(64, "sigmoid", ["LABEL_0"], provenance={"parent": "none"}))
    arguments = ["evaluate", str(model), str(recipe_file), f"data_root={data_root}", f"parent={reranker_dir}"]
    assert main([*arguments, "--json", str(tmp_path / "out.json"), "--record"]) == 0
    printed = capsys.readouterr().out
    assert "facts (8 queries): the first 3 of bm25 reranked; 14 pairs scored" in printed
    assert printed.splitlines()[-3].split()[-4:] == ["first", "stage", "parent", "model"]
    figures = json.loads((tmp_path / "out.json").read_text())
    assert set(figures["facts"]) == {"bm25", "parent", "model", "size", "details"}
    manifest = read_manifest(model)
    assert manifest is not None
    evaluation = manifest.provenance["evaluation"]
    without = {name: {key: own for key, own in one.items() if key != "details"} for name, one in figures.items()}
    assert evaluation["sets"] == without
    assert evaluation["comparisons"]["more"] == figures["more"]["details"]["comparisons"]
    assert evaluation["retrieval"] == {"facts": "bm25", "more": "bm25"}
    assert manifest.provenance["parent"] == "none"
    assert main([*arguments, "--no-baselines", "--only", "more", "--json", str(tmp_path / "out.json")]) == 0
    assert set(json.loads((tmp_path / "out.json").read_text())["more"]) == {"bm25", "model", "size", "details"}


def test_an_interruption_leaves_whole_files_only(
    recipe_file: Path,
    data_root: Path,
    reranker_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run files of the set that was finished are there; JSON and picture, which need all sets, are not."""
    recipe_file.write_text(
        recipe_file.read_text() + '[[evaluations]]\nname = "more"\npath = "facts"\nsplit = "train"\n'
    )
    forward, calls = CrossEncoder.logits, []

    def interrupted(self: CrossEncoder, rows: Any, budget: Any = None) -> Any:
        calls.append(len(rows))
        if len(calls) > 1:
            raise KeyboardInterrupt
        return forward(self, rows, budget)

    monkeypatch.setattr(CrossEncoder, "logits", interrupted)
    output = tmp_path / "output"
    output.mkdir()
    (output / "out.json").write_text("earlier")
    arguments = ["evaluate", str(reranker_dir), str(recipe_file), f"data_root={data_root}", "--no-baselines"]
    files = ["--json", str(output / "out.json"), "--plot", str(output / "p.png"), "--runs-out", str(output / "runs")]
    assert main([*arguments, *files]) == 130
    assert "nothing half-written" in capsys.readouterr().err
    assert sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()) == [
        "out.json",
        "runs/facts.bm25.trec",
        "runs/facts.model.trec",
    ]
    assert (output / "out.json").read_text() == "earlier"


def test_an_unknown_evaluation_set_is_refused(
    recipe_file: Path, reranker_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, reranker_dir, recipe_file, "--only", "nothing")
    assert "--only nothing: no such evaluation set; the recipe has facts" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--measures", "dcg@10"], "measure 'dcg@10': no such metric; it must be one of ndcg"),
        (["--depth", "0"], "--depth 0: must be 1 or more"),
        (["--depths", "10", "0"], "--depths 0: must be 1 or more"),
        (["--limit", "-1"], "--limit -1: must be 1 or more"),
        (["--only", "facts"], "--only chooses among the sets of a recipe"),
        (["epochs=2"], "'epochs=2': key=value replaces a value of a recipe"),
        (["--plot", "depth.jpg"], "--plot depth.jpg: its name must end in one of .png"),
        (["--json", "no/such/directory.json"], "--json no/such/directory.json: no directory no/such; create it"),
        (["--runs-out", "pyproject.toml"], "--runs-out pyproject.toml: is no directory"),
        (["--record"], "has no reranker.json to record figures in; leave out --record"),
        ([], "no judgments of split 'test', only of train; choose one of them"),
        (["--split", "train", "--first-stage", "absent.trec"], "first stage 'absent.trec': no such file, nor"),
        (["--split", "train", "--first-stage", "dense"], "first stage 'dense': name the encoder too"),
        (["--split", "train", "--pool", "pools/absent.tsv"], "absent.tsv: no such file"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], message: str, data_root: Path, reranker_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, reranker_dir, data_root / "facts", *arguments)
    assert message in error
    assert error.count("\n") == 1


def test_options_of_directories_are_refused_for_recipes(
    recipe_file: Path, reranker_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, reranker_dir, recipe_file, "--split", "dev")
    assert "--split goes with a directory; in a recipe write evaluations.0.split=..." in error


def test_a_directory_without_a_corpus_is_named(
    tmp_path: Path, reranker_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "corpus.jsonl: no such file, nor with .gz" in refused(capsys, reranker_dir, tmp_path)


def test_the_sets_of_a_recipe_take_the_command_lines_options(
    recipe_file: Path, data_root: Path, reranker_dir: Path, tmp_path: Path
) -> None:
    assert load_recipe(recipe_file).evaluations[0].depth == 5
    output = tmp_path / "out.json"
    overrides = [f"data_root={data_root}", "evaluations.0.pool=pools/train.tsv"]
    arguments = ["evaluate", str(reranker_dir), str(recipe_file), *overrides, "--no-baselines"]
    assert main([*arguments, "--depth", "2", "--depths", "6", "--limit", "3", "--json", str(output)]) == 0
    figures = json.loads(output.read_text())["facts"]
    assert figures["size"] == {"queries": 3, "pairs": 18}
    assert (figures["details"]["depth"], figures["details"]["curve"]["depths"]) == (2, [2, 6])


def test_scores_that_are_no_numbers_are_refused(reranker_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CrossEncoder.load(reranker_dir)
    monkeypatch.setattr(CrossEncoder, "logits", lambda self, rows: np.full((len(rows), 1), np.nan, dtype=np.float32))
    with pytest.raises(ArtifactError, match=r"2 of 2 scores are NaN or infinite; export the model again"):
        model_scorer(model)([("a", "b"), ("a", "c")])
