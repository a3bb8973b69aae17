"""Tests of .csv files: column types, missing values, odd files, and what the messages say."""

import tracemalloc

import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.config import DataConfig
from kerasbn.data import tables


def read(tmp_path, text, target="y", **keys):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.read_csv(DataConfig(source=str(path), target=target, **keys))


def columns_of(source):
    return {name: column.tolist() for name, column in source.examples.inputs.items()}


def test_numbers_categories_and_missing_values(tmp_path):
    source = read(tmp_path, "a,b,c,y\n1,red,x,no\n2.5e3,,NA,yes\n-1,blue,,yes\n?,red,x,no\n")
    a, b, c = source.examples.inputs.values()
    assert (a.dtype, b.dtype) == (np.float32, object)
    np.testing.assert_array_equal(a, np.array([1, 2500, -1, np.nan], np.float32))
    assert b.tolist() == ["red", "", "blue", "red"]
    assert c.tolist() == ["x", "NA", "", "x"]  # in a column of categories NA is one
    assert source.class_names == ("no", "yes")
    assert source.examples.labels.tolist() == [0, 1, 1, 0]
    assert source.schema == {
        "kind": "table",
        "columns": [
            {"name": "a", "type": "numeric"},
            {"name": "b", "type": "categorical"},
            {"name": "c", "type": "categorical"},
        ],
        "target": "y",
    }


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?", "-"])
def test_what_stands_for_a_missing_number(tmp_path, missing):
    a = read(tmp_path, f"a,b,y\n1,0,p\n{missing},0,q\n3,0,p\n4,0,q\n").examples.inputs["a"]
    assert a.dtype == np.float32
    assert np.isnan(a).tolist() == [False, True, False, False]


@pytest.mark.parametrize("cell", ["True", "0x10", "1_0", "1,5", "7 apples", "2020-01-01"])
def test_what_is_no_number_makes_a_column_of_categories(tmp_path, cell):
    source = read(tmp_path, f'a,y\n"{cell}",p\n1,q\n2,p\n3,q\n')
    assert source.examples.inputs["a"].tolist() == [cell, "1", "2", "3"]


def test_quotes_spaces_bom_and_non_ascii(tmp_path):
    text = '\ufeff"größe, cm" , y\n 1.5 , "ja, schon"\n2,nein\n3,"ja, schon"\n4,nein\n\n'
    source = read(tmp_path, text)
    assert columns_of(source) == {"größe, cm": [1.5, 2, 3, 4]}
    assert source.class_names == ("ja, schon", "nein")
    source = read(tmp_path, '"größe, cm",y\n1.5,"a ""b"",\nc"\n2,d\n3,"a ""b"",\nc"\n4,d\n')
    assert source.class_names == ('a "b",\nc', "d")


def test_windows_line_ends(tmp_path):
    assert columns_of(read(tmp_path, "a,y\r\n1,p\r\n2,q\r\n3,p\r\n4,q\r\n")) == {"a": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (("1", "0", "10"), ("0", "1", "10")),
        (("9", "10", "2"), ("2", "9", "10")),
        (("b", "a", "NA"), ("NA", "a", "b")),
        (("1.0", "2.0", "10.0"), ("1.0", "10.0", "2.0")),
        (("01", "1", "2"), ("01", "1", "2")),
    ],
)
def test_classes(tmp_path, cells, names):
    rows = "".join(f"{i},{cells[i % 3]}\n" for i in range(9))
    source = read(tmp_path, "a,y\n" + rows)
    assert source.class_names == names
    assert [names[label] for label in source.examples.labels] == [cells[i % 3] for i in range(9)]


def test_codes_as_categories_and_columns_left_out(tmp_path):
    source = read(tmp_path, "id,code,a,y\n1,07,1,p\n2,7,2,q\n3,07,1,p\n4,8,1,q\n", categorical=("code",), drop=("id",))
    assert columns_of(source) == {"code": ["07", "7", "07", "8"], "a": [1, 2, 1, 1]}


def test_a_slash_in_a_name(tmp_path):
    text = "m/s,a/b,c/d,y/n\n1,2,3,p\n2,2,3,q\n3,2,3,p\n4,2,3,q\n"
    source = read(tmp_path, text, target="y/n", drop=("a/b",), categorical=("c/d",))
    assert columns_of(source) == {"m_s": [1, 2, 3, 4], "c_d": ["3"] * 4}
    assert source.schema["target"] == "y_n"
    columns, ignored = tables.read_columns(tmp_path / "t.csv", source.schema["columns"])
    assert ignored == ["a_b", "y_n"]
    assert columns["m_s"].tolist() == [1, 2, 3, 4]


def test_a_column_without_a_name(tmp_path):
    assert list(columns_of(read(tmp_path, ",a,y\n0,1,p\n1,2,q\n2,3,p\n3,4,q\n"))) == ["Unnamed: 0", "a"]


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("", {}, "to have a header and rows; received an empty file."),
        ("\n\n", {}, "to have a header and rows; received an empty file."),
        ("a,y\n", {}, "to have rows; received a header alone."),
        ("a,y\n1,p\n", {"target": None}, "data.target: expected the column to predict; received none; the columns are "
         "'a', 'y'. Name it with --data.target."),
        ("a,class\n1,p\n", {"target": "clas"}, "data.target: expected columns out of 'a', 'class'; received 'clas'. "
         "Did you mean 'class'?"),
        ("a,y\n1,p\n", {"drop": ("b",)}, "data.drop: expected columns out of 'a', 'y'; received 'b'."),
        ("a,y\n1,p\n", {"categorical": ("b",)}, "data.categorical: expected columns out of 'a', 'y'; received 'b'."),
        ("a,y\n1,p\n2,p\n", {}, "column 'y': expected at least two classes; received 1 ('p')."),
        ("a,y\n1,p\n2,q\n3,p\n", {}, "column 'y': expected at least two examples of each class; received one of 'q'."),
        ("a,y\n1,1.5\n2,2.5\n3,3.5\n", {}, "column 'y': expected classes with several examples each; received 3 "
         "different values in 3 examples."),
        ("a,y\n1,p\n2,\n3,q\n", {}, "column 'y': expected a class in every row; received 1 without, the first in "
         "line 3. Leave those rows out."),
        ("a,b,y\n1,,p\n2,?,q\n3,,p\n4,NA,q\n", {}, "column 'b': expected at least one value; received only missing "
         "values. Leave it out with --data.drop '[\"b\"]'."),
        ("a,y\n1e39,p\n2,q\n3,p\n4,q\n", {}, "column 'a': expected numbers that float32 can hold; received an "
         "infinite one in line 2."),
        ("a,y\n1,p\n-inf,q\n3,p\n4,q\n", {}, "received an infinite one in line 3."),
        ("y\np\nq\np\nq\n", {}, "data.source: expected columns to predict from; received only 'y'."),
        ("a,a,y\n1,2,p\n3,4,q\n", {}, "data.source: expected columns with different names; received 'a' repeated."),
        ("a/b,a_b,y\n1,2,p\n3,4,q\n", {}, "received 'a_b' repeated."),
        ("a,b,y\n1,2,p,\n3,4,q,\n", {}, "to be a readable .csv file; received Error tokenizing data. C error: Expected "
         "3 fields in line 2, saw 4. Give no row more cells than the header, put texts with commas in double quotes, "
         "and close each quote."),
        ("a,b,y\n1,2,p\n3,q\n3,4,q,\n", {}, "Expected 3 fields in line 4, saw 4. Give no row more cells"),
        ("a;b;y\n1,5;2;p\n", {}, "to have columns separated by commas; received 'a;b;y'. The columns look separated by "
         "semicolons; save the file with commas."),
        ("a\ty\n1\tp\n", {}, "The columns look separated by tabs; save the file with commas."),
        ("größe,y\n1,p\n".encode("latin-1"), {}, "Save it as UTF-8"),
        ("a,y\n1,p\n".encode("utf-16"), {}, "Save it as UTF-8"),
        (b"a,y\n" + b"1,p\n" * 200_000 + b"\xe4,q\n", {}, "Save it as UTF-8"),
        ('a,y\n"1,p\n2,q\n', {}, "to be a readable .csv file; received Error tokenizing data."),
        (b"a,y\n\xff,p\n", {}, "to be a readable .csv file; received 'utf-8' codec can't decode byte 0xff"),
        ("a,y\n" + "".join(f"n{i},{'pq'[i % 2]}\n" for i in range(1002)), {"categorical": ("a",)},
         "column 'a': expected at most 1000 "
         "categories; received 1002. It may be an identifier or free text: leave it out with --data.drop."),
        ("a,y\n" + "".join(f"n{i},{'pq'[i % 2]}\n" for i in range(60)), {}, "column 'a': expected categories that "
         "come again; received 60 different in 60 rows. It looks like an identifier, a date or free text: leave it "
         "out with --data.drop; or name it in --data.categorical, if its values do come again."),
        ("a,y\n" + "".join(f"{'7 cm' if i == 5 else i},{'pq'[i % 2]}\n" for i in range(60)), {}, "column 'a': "
         "expected numbers, as in nearly all its rows; received '7 cm' in line 7. Correct or empty the cells; or name "
         "the column in --data.categorical, if these are codes."),
        ("a,y\n" + "1,p\n2,q\n" * 20 + "?,p\n" * 40 + "x,p\ny,q\n", {}, "received 'x' in line 82 and 1 more."),
        ("a,b,y\n1,2,p\n3,4,q\n1,2,p\n3,4,q\n", {"drop": ("y",)}, "data.drop: expected other columns than "
         "data.target; received 'y'. Leave it out of one of the two."),
    ],
)  # fmt: skip
def test_messages(tmp_path, text, keys, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, **keys)
    assert message in str(caught.value)


def test_types_that_change_far_down_the_file(tmp_path):
    # pandas infers types by blocks of some ten thousand rows
    first, last = "01,True,NA,?,1,1,NA", "x,1,red,7,2.50,5 ,True"
    rows = [f"{cells},{label}\n" for cells in [first] * 50_000 + [last] * 6_000 for label in "pq"]
    source = read(tmp_path, "a,b,c,d,e,f,g,y\n" + "".join(rows))
    ends = {name: [column[0], column[-1]] for name, column in source.examples.inputs.items()}
    missing = ends.pop("d")
    assert np.isnan(missing[0])
    assert missing[1] == 7
    assert ends == {
        "a": ["01", "x"], "b": ["True", "1"], "c": ["NA", "red"], "e": [1, 2.5], "f": [1, 5], "g": ["NA", "True"]
    }  # fmt: skip


def test_truth_values_are_texts(tmp_path):
    assert columns_of(read(tmp_path, "a,y\nTrue,p\nFalse,q\nTrue,p\nFalse,q\n")) == {"a": ["True", "False"] * 2}


def test_rows_that_are_short(tmp_path):
    source = read(tmp_path, "y,a,b\np,1\nq,2,x\np\nq,,z\n")
    np.testing.assert_array_equal(source.examples.inputs["a"], np.float32([1, 2, np.nan, np.nan]))
    assert source.examples.inputs["b"].tolist() == ["", "x", "", "z"]


def test_memory_is_bounded_by_the_size_of_the_file(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(20_000, 20)).round(6)
    lines = (",".join(map(str, row)) + f",{'pq'[i % 2]}\n" for i, row in enumerate(numbers.tolist()))
    text = ",".join(f"c{i}" for i in range(20)) + ",y\n" + "".join(lines)
    tracemalloc.start()
    try:
        source = read(tmp_path, text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(np.stack(list(source.examples.inputs.values()), 1), numbers.astype(np.float32))
    assert peak < 6 * len(text)  # cells as texts take nine times


def test_a_missing_file(tmp_path):
    for path in (tmp_path / "x.csv", tmp_path):
        with pytest.raises(
            InputError, match=r"data.source: expected '.*' to be a readable .csv file; received .*Check the path"
        ):
            tables.read_csv(DataConfig(source=str(path), target="y"))


def test_read_columns_reads_as_training_did(tmp_path):
    text = "c,extra,a,y\nNA,1,2,p\nred,1,,q\n,1,4,p\nred,1,5,q\n"
    source = read(tmp_path, text, drop=("extra",))
    again, ignored = tables.read_columns(tmp_path / "t.csv", source.schema["columns"])
    assert ignored == ["extra", "y"]
    assert list(again) == ["c", "a"]
    for name, column in again.items():
        np.testing.assert_array_equal(column, source.examples.inputs[name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n1\n", "input: expected a column 'size'; received none. Add it: the model takes it; a cell may be empty "
         "where there is no value."),
        ("sizes\n1\n", "input: expected a column 'size'; received none. Did you mean 'sizes'?"),
        ("size\n1\n?\nbig\n", "input: column 'size': expected numbers; received 'big' in line 4. Correct the cell, or "
         "empty it if there is no value."),
    ],
)  # fmt: skip
def test_read_columns_messages(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        tables.read_columns(tmp_path / "t.csv", [{"name": "size", "type": "numeric"}])
    assert str(caught.value) == message
