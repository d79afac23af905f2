"""Recipes: what is refused, and how overrides reach their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import ConfigError
from tests.unit.training.conftest import write_lines
from training.commands.arguments import training_arguments
from training.commands.losses import loss_factory
from training.commands.report import resolved
from training.commands.sources import kind_of
from training.commands.work import decisive
from training.cross_encoder import CrossEncoder
from training.errors import DataError
from training.recipe import Dataset, Loss, Recipe, load_recipe

DEFAULT = Path(__file__).parents[3] / "training" / "recipes" / "default.toml"
EVALUATION_ONLY = {"cacm", "checkthat20", "cisi", "covidqa", "cranfield", "noveleval", "pubmedqa", "semeval_cqa_a"}
EVALUATION_ONLY |= {"wikiqa", "mqp", "parade", "paws_qqp", "quora"}


def test_unknown_keys_are_refused_by_name(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'learning_rat'"):
        load_recipe(recipe_file, ["learning_rat=1e-3"])
    with pytest.raises(ConfigError, match=r"unknown key 'negatives\.kid'"):
        load_recipe(recipe_file, ["negatives.kid=bm25"])


def test_wrong_values_are_refused_with_their_key(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match="key 'batch_size'"):
        load_recipe(recipe_file, ["batch_size=0"])
    with pytest.raises(ConfigError, match=r"key 'negatives\.kind'"):
        load_recipe(recipe_file, ["negatives.kind=hard"])


def test_unknown_keys_come_with_the_most_similar_one(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'learning_rat' \(did you mean 'learning_rate'\?\)"):
        load_recipe(recipe_file, ["learning_rat=1e-3"])
    with pytest.raises(ConfigError, match=r"'loss\.name': no such loss: 'RankLoss'; it must be one of ADRMSELoss"):
        load_recipe(recipe_file, ["loss.name=RankLoss"])


def test_keys_that_contradict_each_other_are_refused(recipe_file: Path) -> None:
    for overrides, message in [
        (["keep_best=true"], "needs a set in .* with during = true"),
        (["datasets.1.name=facts"], "two .* have the name 'facts'"),
        (['labels=["a", "b"]'], "'labels' names 2, but num_labels is 1"),
        (["datasets.1.kind=beir", "datasets.1.format=csv"], "a BEIR directory has no"),
        (["datasets.1.path=."], "'path' is missing"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_recipe(recipe_file, overrides)


WATCHED = [
    {"name": "facts", "path": "facts", "during": True},
    {"name": "sts", "path": "sts.csv", "kind": "correlation", "during": True},
]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"evaluations": [WATCHED[0], WATCHED[0]]}, r"two \[\[evaluations\]\] have the name 'facts'"),
        ({"evaluations": WATCHED, "num_labels": 3}, "'facts': reranking needs a model with one output"),
        ({"evaluations": WATCHED, "keep_best": True}, "several kinds: .* for example facts_ndcg@10, sts_spearman"),
        ({"evaluations": WATCHED, "best_metric": "sts_pearson"}, "'best_metric' goes with keep_best = true"),
        (
            {"evaluations": WATCHED, "keep_best": True, "best_metric": "sts_map"},
            "'sts_map' is not measured; it must be one of facts_ndcg@10, facts_mrr@10, facts_map, sts_spearman",
        ),
        ({"evaluations": [{**WATCHED[1], "during": False}]}, "measured by training only; add during = true"),
        ({"evaluations": [{**WATCHED[0], "columns": ["a"], "during": False}]}, "by training only; add during = true"),
        ({"evaluations": [{"name": "facts"}]}, "'path' is missing"),
        ({"evaluations": [{**WATCHED[1], "connection": "x.db"}]}, "'path' and 'connection' name two sources; remove"),
    ],
)
def test_evaluations_that_do_not_fit_are_refused(recipe_file: Path, keys: dict[str, Any], message: str) -> None:
    data = load_recipe(recipe_file).model_dump(exclude_unset=True)
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({**data, **keys})


def test_the_figure_that_chooses_the_best_model_is_a_key(recipe_file: Path, tmp_path: Path) -> None:
    data = {**load_recipe(recipe_file).model_dump(exclude_unset=True), "evaluations": WATCHED, "keep_best": True}
    recipe = Recipe.model_validate({**data, "best_metric": "sts_pearson"})
    assert training_arguments(recipe, tmp_path).metric_for_best_model == "eval_sts_pearson"
    alone = Recipe.model_validate({**data, "evaluations": WATCHED[:1]})
    assert training_arguments(alone, tmp_path).metric_for_best_model == "eval_sequential_score"


def test_overrides_replace_nested_values_and_list_entries(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["epochs=7", "negatives.count=5", "datasets.1.limit=3", "output=some/where"])
    assert (recipe.epochs, recipe.negatives.count, recipe.datasets[1].limit) == (7, 5, 3)
    assert recipe.output == Path("some/where")


@pytest.mark.parametrize("override", ["epochs", "=3", "datasets.9.limit=3", "epochs.x=1"])
def test_overrides_that_lead_nowhere_are_refused(recipe_file: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        load_recipe(recipe_file, [override])


def test_missing_and_malformed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("parent = ")
    with pytest.raises(ConfigError, match=r"bad\.toml: not valid TOML"):
        load_recipe(tmp_path / "bad.toml")


def test_the_default_recipe_trains_on_no_test_split_and_on_no_evaluation_set() -> None:
    recipe = load_recipe(DEFAULT)
    for dataset in recipe.datasets:
        assert dataset.path.parts[0] not in EVALUATION_ONLY
        assert dataset.split in ("train", "dev") or dataset.name in ("nq_mini", "qed_nq")
        assert dataset.licence
    assert not recipe.data_root.is_absolute()


@pytest.mark.parametrize(
    ("name", "options", "attribute"),
    [
        ("CrossEntropyLoss", {"label_smoothing": 0.25, "weight": [1.0, 2.0]}, "ce_loss"),
        ("BinaryCrossEntropyLoss", {"reduction": "sum"}, "bce_with_logits_loss"),
        ("MSELoss", {"reduction": "sum"}, "loss_fct"),
    ],
)
def test_options_that_a_loss_hands_to_pytorch_s(
    name: str, options: dict[str, Any], attribute: str, reranker_dir: Path
) -> None:
    loss = loss_factory(Loss(name=name, **options), 1)(CrossEncoder(str(reranker_dir), device="cpu"))
    inner = getattr(loss, attribute)
    for key, value in options.items():
        found = getattr(inner, key)
        assert (found.tolist() if isinstance(value, list) else found) == value


def test_the_recipe_of_examples_is_valid_down_to_losses_and_arguments(tmp_path: Path) -> None:
    recipe = load_recipe(DEFAULT.with_name("tables.toml"))
    arguments = training_arguments(recipe.model_copy(update={"report_to": ()}), tmp_path)
    assert (arguments.save_steps, arguments.eval_steps, arguments.load_best_model_at_end) == (200, 200, True)
    for dataset in recipe.datasets:
        loss_factory(dataset.loss or recipe.loss, recipe.num_labels)
    (tmp_path / "pairs.jsonl").write_text('{"query": "who", "answer": "nobody"}\n')
    (tmp_path / "rows.jsonl").write_text('{"query": "who", "document": "nobody", "label": 0.5}\n')
    kinds = [kind_of(dataset, tmp_path) for dataset in recipe.datasets]
    assert kinds == ["table", "table", "table", "pairs"]
    lines = [Dataset(name=name, path=Path(f"{name}.jsonl")) for name in ("pairs", "rows")]
    assert [kind_of(dataset, tmp_path) for dataset in lines] == ["pairs", "table"]


def test_recipes_written_for_earlier_versions_mean_the_same(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["warmup=0.2", "clip=2.0", "weight_decay=0.1"])
    arguments = training_arguments(recipe, tmp_path)
    assert (arguments.learning_rate, arguments.warmup_steps, arguments.max_grad_norm) == (3e-3, 0.2, 2.0)
    assert (arguments.per_device_train_batch_size, arguments.num_train_epochs, arguments.save_steps) == (8, 4, 3)
    assert arguments.weight_decay == 0.1
    assert arguments.get_warmup_steps(100) == 20


def test_passwords_and_tokens_are_not_written_down(recipe_file: Path) -> None:
    """Of training sets and of evaluation sets."""
    database = "postgresql://reader:secret@db.example/facts"
    source = ["path=.", f"connection={database}"]
    overrides = [f"{section}.{one}" for section in ("datasets.1", "evaluations.0") for one in source]
    recipe = load_recipe(recipe_file, [*overrides, "evaluations.0.during=true", "arguments.hub_token=secret"])
    text = str([resolved(recipe), decisive(recipe, [])])
    assert "secret" not in text
    assert text.count("postgresql://reader:***@db.example/facts") == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["datasets={name='a'}"], r"key 'datasets': needs a list; write \[\[datasets\]\] above each of its tables"),
        (["report_to=wandb"], r"key 'report_to': needs a list: \[\.\.\.\]"),
        (["datasets.0.columns=query"], r"key 'datasets.0.columns': needs a list"),
        (["num_labels=2", "labels=['a', 'a']"], "key 'labels' names one twice; give each class a name of its own"),
        (["seed=-1"], "key 'seed': .* greater than or equal to 0"),
        (["learning_rate=inf"], "key 'learning_rate': .* finite number"),
    ],
)
def test_a_value_of_another_kind_is_explained_in_words_of_the_recipe(
    recipe_file: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe_file, overrides)


def test_a_recipe_may_begin_with_a_byte_order_mark(recipe_file: Path) -> None:
    """As editors of Windows write it."""
    plain = load_recipe(recipe_file)
    recipe_file.write_bytes(b"\xef\xbb\xbf" + recipe_file.read_bytes())
    assert load_recipe(recipe_file) == plain


def test_lines_of_pairs_with_scores_or_negatives_need_a_kind(tmp_path: Path) -> None:
    """Either reading would lose something without a word."""
    for number, more in enumerate(({}, {"id": 7}, {"score": 0.5}, {"negative_1": "x"})):
        write_lines(tmp_path / f"{number}.jsonl", [{"query": "who", "answer": "nobody", **more}])
    assert [kind_of(Dataset(name="a", path=Path(f"{number}.jsonl")), tmp_path) for number in (0, 1)] == ["pairs"] * 2
    for number, column in ((2, "score"), (3, "negative_1")):
        path = Path(f"{number}.jsonl")
        with pytest.raises(DataError, match=f"a column '{column}' too; set kind = \"table\" to train on its columns"):
            kind_of(Dataset(name="a", path=path), tmp_path)
        assert kind_of(Dataset(name="a", path=path, kind="table"), tmp_path) == "table"
