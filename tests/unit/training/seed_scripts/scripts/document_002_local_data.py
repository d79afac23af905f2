# Local Data (CSV, JSON, Parquet, Arrow, SQL)
from datasets import load_dataset

dataset = load_dataset("csv", data_files="my_file.csv")
csv_dataset = dataset

# or:
from datasets import load_dataset  # noqa: E402

dataset = load_dataset("json", data_files="my_file.json")
json_dataset = dataset

# Local Data that requires pre-processing
from datasets import Dataset  # noqa: E402

anchors = []
positives = []
# Open a file, do preprocessing, filtering, cleaning, etc.
# and append to the lists
for row in json_dataset["train"]:
    anchors.append(row["anchor"])
    positives.append(row["positive"])

dataset = Dataset.from_dict(
    {
        "anchor": anchors,
        "positive": positives,
    }
)
