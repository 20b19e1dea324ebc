"""Reads every table in the given folders, and prints those whose rows differ from the saved ones."""

import csv
import pathlib
import sys

for folder in sys.argv[1:]:
    for table in sorted(pathlib.Path(folder).glob("*.csv")):
        with table.open(encoding="utf-8-sig", newline="") as text:
            try:
                rows = [row for row in csv.reader(text) if row]
            except csv.Error as error:
                print(f"{table}: {error}")
                continue
        found = "".join(",".join(field.encode().hex() for field in row) + "\n" for row in rows)
        expected = table.with_suffix(".rows").read_text()
        print("same" if found == expected else f"{table}: Python reads {rows}")
