"""Every metric is declared once, and README says what the declaration says."""

from evaluation.registry import BEGIN, COLUMNS, END, METRICS, README, markdown_table


def test_readme_holds_the_table_of_metrics():
    """If this fails, write the table anew: python -m evaluation.registry"""
    _, rest = README.read_text(encoding="utf-8").split(BEGIN)
    assert rest.split(END)[0] == markdown_table()


def test_keys_and_the_ablations_columns_are_distinct():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    assert [metric.column.place for metric in COLUMNS] == list(range(1, len(COLUMNS) + 1))
