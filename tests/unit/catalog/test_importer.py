"""Importing a CSV: what becomes an offer, and what is said of every line that does not."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.catalog.importer import BadRow, BadRows, ImportReport, read_csv
from orchestrator.catalog.layout import COLUMNS
from orchestrator.domain.errors import ConfigError, SpecError
from orchestrator.domain.offer import Billing, Offer

HEADER = (
    "provider,region,zone,instance_type,gpu,gpu_count,gpu_mem_gib,vcpu,mem_gib,on_demand,spot,currency,"
    "interrupt_idx,max_lease_h,od_source,od_as_of,spot_source"
)
NAMES = HEADER.split(",")
BASE = {
    "provider": "aws",
    "region": "us-east-1",
    "zone": "us-east-1a",
    "instance_type": "g4dn.xlarge",
    "gpu": "T4",
    "gpu_count": "1.0",
    "gpu_mem_gib": "16.0",
    "vcpu": "4.0",
    "mem_gib": "16.0",
    "on_demand": "0.526",
    "spot": "0.1578",
    "currency": "USD",
    "interrupt_idx": "3.0",
    "max_lease_h": "",
    "od_source": "a list",
    "od_as_of": "2026-07-20",
    "spot_source": "another-2025-05",
}
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def line(**changes: str) -> str:
    return ",".join({**BASE, **changes}[name] for name in NAMES)


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "offers.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def skip(path: Path) -> ImportReport:
    report = read_csv(path, on_bad=BadRows.SKIP, now=NOW)
    assert report.rows == report.good + report.priceless + report.bad_rows
    return report


def only(report: ImportReport) -> Offer:
    assert len(report.book) == 1
    return report.book[0]


def fault(folder: Path, **changes: str) -> BadRow:
    report = skip(write(folder, line(**changes)))
    assert len(report.book) == 0
    assert len(report.bad) == 1
    assert report.bad[0].line == 2
    return report.bad[0]


def test_a_row_with_both_prices_makes_an_on_demand_and_a_spot_offer(tmp_path: Path) -> None:
    report = skip(write(tmp_path, line()))
    assert (report.rows, report.good, report.offers) == (1, 1, 2)
    on_demand, spot = report.book
    assert (on_demand.billing, on_demand.usd_per_hour, on_demand.source) == (Billing.ON_DEMAND, 0.526, "a list")
    assert (spot.billing, spot.usd_per_hour, spot.source) == (Billing.SPOT, 0.1578, "another-2025-05")
    assert (on_demand.accelerator, on_demand.gpus, on_demand.vcpus, on_demand.host_memory_gib) == ("T4", 1, 4, 16)
    assert on_demand.available is None


def test_each_price_has_its_own_date_and_only_spot_has_a_hazard(tmp_path: Path) -> None:
    on_demand, spot = skip(write(tmp_path, line())).book
    assert on_demand.observed_at == datetime(2026, 7, 20, tzinfo=UTC)
    assert spot.observed_at == datetime(2025, 5, 1, tzinfo=UTC)
    assert on_demand.interruption_rate == 0.0
    assert spot.interruption_rate == pytest.approx(0.000263, abs=1e-6), "17.5 % a month"


def test_a_spot_source_without_a_date_is_dated_by_the_row(tmp_path: Path) -> None:
    report = skip(write(tmp_path, line(on_demand="", spot_source="50% rule")))
    assert only(report).observed_at == datetime(2026, 7, 20, tzinfo=UTC)


def test_months_and_years_are_dated_at_their_beginning(tmp_path: Path) -> None:
    for text, month in (("2026-08", 8), ("2026", 1)):
        assert only(skip(write(tmp_path, line(spot="", od_as_of=text)))).observed_at == datetime(
            2026, month, 1, tzinfo=UTC
        )


def test_a_price_without_a_date_needs_one_from_the_caller(tmp_path: Path) -> None:
    path = write(tmp_path, line(spot="", od_as_of=""))
    assert "no date" in skip(path).bad[0].message
    dated = read_csv(path, on_bad=BadRows.SKIP, as_of=datetime(2026, 2, 3, tzinfo=UTC))
    assert only(dated).observed_at == datetime(2026, 2, 3, tzinfo=UTC)


def test_a_row_without_any_price_is_counted_and_is_no_fault(tmp_path: Path) -> None:
    report = skip(write(tmp_path, line(on_demand="", spot="", od_as_of="", gpu_count="")))
    assert (report.rows, report.priceless, report.bad, report.offers) == (1, 1, (), 0)


def test_euros_become_dollars_and_the_source_says_so(tmp_path: Path) -> None:
    offer = only(skip(write(tmp_path, line(spot="", currency="EUR", on_demand="2.52"))))
    assert offer.usd_per_hour == pytest.approx(2.52 * 1.1133)
    assert "EUR 2.52/h at 1.1133 USD/EUR of 2026-10-28" in offer.source


def test_a_fraction_of_a_gpu_stays_a_fraction(tmp_path: Path) -> None:
    changes = {"gpu": "L4", "gpu_count": "0.125", "gpu_mem_gib": "2.8", "instance_type": "g6f.large", "spot": ""}
    offer = only(skip(write(tmp_path, line(**changes))))
    assert (offer.gpus, offer.accelerator) == (0.125, "L4")


def test_an_unknown_device_keeps_the_vendors_word_and_is_named_in_the_report(tmp_path: Path) -> None:
    report = skip(write(tmp_path, line(gpu="Quantum Abacus", spot="")))
    assert only(report).accelerator == "Quantum Abacus"
    assert report.unknown_gpus == ("Quantum Abacus",)


@pytest.mark.parametrize("text", ["abc", "1,5", "nan", "NaN", "inf", "-inf", "1_0", "1e999", "0x10"])
def test_a_price_that_is_no_number_is_a_fault_of_its_column(tmp_path: Path, text: str) -> None:
    quoted = f'"{text}"'
    found = fault(tmp_path, on_demand=quoted, spot="")
    assert (found.column, found.message) == ("on_demand", f"{text!r} is not a number")


@pytest.mark.parametrize(
    ("text", "says"),
    [("-1", "negative"), ("0", "no price"), ("0.0", "no price"), ("1e-9", "absurd"), ("1000000", "absurd")],
)
def test_a_price_that_nobody_asks_is_a_fault(tmp_path: Path, text: str, says: str) -> None:
    found = fault(tmp_path, on_demand=text, spot="")
    assert found.column == "on_demand"
    assert says in found.message


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [
        ("gpu_count", "", "number of GPUs"),
        ("gpu_count", "0", "no number of GPUs"),
        ("gpu_count", "-8", "negative"),
        ("gpu_count", "eight", "not a number"),
        ("gpu_count", "99999", "no number of GPUs"),
        ("vcpu", "many", "not a number"),
        ("mem_gib", "-16", "negative"),
        ("gpu_mem_gib", "nan", "not a number"),
        ("interrupt_idx", "7", "0 to 4"),
        ("interrupt_idx", "1.5", "0 to 4"),
        ("max_lease_h", "0", "a lease of 0 hours"),
        ("currency", "XAU", "no exchange rate for 'XAU': known are EUR, USD"),
        ("od_as_of", "yesterday", "'yesterday' is not a date"),
        ("od_as_of", "2026-13", "is not a date"),
        ("od_as_of", "2026-02-30", "is not a date"),
        ("od_as_of", "2206-02-03", "lies in the future"),
        ("provider", "", "empty"),
        ("region", " ", "empty"),
        ("instance_type", "", "empty"),
        ("gpu", "", "empty"),
    ],
)
def test_a_field_that_makes_no_sense_is_a_fault_of_its_column(
    tmp_path: Path, column: str, text: str, says: str
) -> None:
    found = fault(tmp_path, **{"spot": "", column: text})
    assert found.column == column
    assert says in found.message


def test_all_faults_of_a_row_are_reported_and_the_row_counts_once(tmp_path: Path) -> None:
    report = skip(write(tmp_path, line(gpu_count="x", on_demand="-1", currency="XAU")))
    assert {row.column for row in report.bad} == {"gpu_count", "on_demand", "currency"}
    assert report.bad_rows == 1


def test_one_bad_price_spoils_the_whole_row(tmp_path: Path) -> None:
    report = skip(write(tmp_path, line(spot="-1")))
    assert (report.offers, report.bad_rows) == (0, 1)


def test_a_row_of_too_few_or_too_many_fields_says_how_many(tmp_path: Path) -> None:
    report = skip(write(tmp_path, "aws,us-east-1", line() + ",more", line()))
    assert [row.message for row in report.bad] == [
        "2 fields where the header has 17",
        "18 fields where the header has 17",
    ]
    assert report.good == 1


def test_a_stray_quote_spoils_its_own_line_only(tmp_path: Path) -> None:
    report = skip(write(tmp_path, '"aws,us-east-1', line()))
    assert [(row.line, row.column) for row in report.bad] == [(2, "")]
    assert "not a CSV line" in report.bad[0].message
    assert report.good == 1


def test_the_price_of_a_gpu_without_a_machine_is_no_offer(tmp_path: Path) -> None:
    found = fault(tmp_path, od_source="some list (gpu attach only)")
    assert found.column == "od_source"
    assert "without a machine" in found.message


def test_the_same_machine_twice_is_a_fault_that_names_the_first_line(tmp_path: Path) -> None:
    report = skip(write(tmp_path, line(), line(gpu_count="2.0"), line(zone="us-east-1b")))
    assert [(row.line, row.column) for row in report.bad] == [(3, "instance_type")]
    assert "line 2" in report.bad[0].message
    assert report.good == 2


def test_bytes_that_are_no_utf8_are_a_fault_of_their_line(tmp_path: Path) -> None:
    path = tmp_path / "offers.csv"
    path.write_bytes("\n".join((HEADER, line())).encode() + b"\n" + line(region="r\xff").encode("latin-1") + b"\n")
    report = skip(path)
    assert [(row.line, row.column) for row in report.bad] == [(3, "region")]
    assert report.good == 1


def test_blank_lines_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "offers.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n\r\n{line()}\r\n\r\n".encode())
    report = skip(path)
    assert (report.rows, report.good) == (1, 1)


def test_line_numbers_are_those_of_the_file_even_after_blank_lines(tmp_path: Path) -> None:
    report = skip(write(tmp_path, "", line(), "", line(gpu_count="x", zone="b")))
    assert [row.line for row in report.bad] == [5]


def test_refusing_lists_every_bad_row_with_its_line_and_place(tmp_path: Path) -> None:
    path = write(tmp_path, line(), line(zone="b", on_demand="-1"), line(zone="c", currency="XAU"))
    with pytest.raises(SpecError) as caught:
        read_csv(path, on_bad=BadRows.REFUSE)
    assert [(problem.line, problem.field) for problem in caught.value.problems] == [(3, "on_demand"), (4, "currency")]
    third = path.read_text().split("\n")[2]
    assert third[caught.value.problems[0].column - 1 :].startswith("-1")
    assert f"{path}:3:" in str(caught.value)


def test_refusing_a_good_file_imports_it(tmp_path: Path) -> None:
    assert read_csv(write(tmp_path, line()), on_bad=BadRows.REFUSE).offers == 2


def test_a_gzip_file_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "named.csv"
    path.write_bytes(gzip.compress(f"{HEADER}\n{line()}\n".encode()))
    assert skip(path).good == 1


def test_a_cut_off_gzip_file_keeps_whole_lines_and_says_that_more_are_lost(tmp_path: Path) -> None:
    rows = [line(zone=f"zone-{number}", on_demand=f"{1 + number * 0.37:.5f}") for number in range(400)]
    whole = gzip.compress("\n".join((HEADER, *rows, "")).encode())
    path = tmp_path / "offers.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    report = skip(path)
    assert 0 < report.good < 400
    assert report.bad[-1].message.startswith("the file ends in the middle")
    assert report.bad[-1].line == report.rows + 1
    with pytest.raises(SpecError, match="the file ends in the middle"):
        read_csv(path, on_bad=BadRows.REFUSE)


def test_a_gzip_file_cut_within_its_checksum_is_cut_off_too(tmp_path: Path) -> None:
    path = tmp_path / "offers.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{line()}\n".encode())[:-4])
    report = skip(path)
    assert (report.good, report.bad_rows) == (1, 1)


def test_a_damaged_gzip_file_is_not_trusted_in_any_mode(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(f"{HEADER}\n{line()}\n".encode()))
    packed[-6] ^= 0xFF  # in the checksum
    path = tmp_path / "offers.csv.gz"
    path.write_bytes(bytes(packed))
    with pytest.raises(SpecError, match="damaged"):
        skip(path)


def test_several_gzip_members_are_one_file_and_junk_after_them_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "offers.csv.gz"
    members = gzip.compress(f"{HEADER}\n".encode()) + gzip.compress(f"{line()}\n".encode())
    path.write_bytes(members)
    assert skip(path).good == 1
    path.write_bytes(members + b"junk")
    with pytest.raises(SpecError, match="no archive"):
        skip(path)


def test_a_gzip_bomb_is_refused_without_unpacking_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.spec.csv_text.MAX_BYTES", 1 << 20)
    path = tmp_path / "offers.csv.gz"
    path.write_bytes(gzip.compress(b"x" * (8 << 20)))
    with pytest.raises(SpecError, match="unpacks to more than 1 MiB"):
        skip(path)
    plain = tmp_path / "plain.csv"
    plain.write_bytes(b"x" * (2 << 20))
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        skip(plain)


def test_a_misspelt_column_names_the_nearest_known_one(tmp_path: Path) -> None:
    for misspelt, known in (("on_demnd", "on_demand"), ("curency", "currency"), ("instance-type", "instance_type")):
        path = write(tmp_path, line(), header=HEADER.replace(known, misspelt))
        with pytest.raises(SpecError) as caught:
            skip(path)
        assert [(p.field, p.hint) for p in caught.value.problems] == [(misspelt, f"did you mean {known!r}?")]


def test_missing_columns_are_all_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        skip(write(tmp_path, "aws,1", header="provider,spot"))
    assert {p.field for p in caught.value.problems} == {"region", "instance_type", "gpu", "gpu_count"}
    with pytest.raises(SpecError, match="'on_demand' is missing"):
        skip(write(tmp_path, "", header="provider,region,instance_type,gpu,gpu_count"))


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'gpu' stands here 2 times"):
        skip(write(tmp_path, header=HEADER + ",gpu"))


def test_columns_that_mean_nothing_to_us_are_named_and_the_order_is_free(tmp_path: Path) -> None:
    names = [*reversed(NAMES), "sustainability_score"]
    row = ",".join({**BASE, "sustainability_score": "9"}[name] for name in names)
    report = skip(write(tmp_path, row, header=",".join(names)))
    assert report.ignored_columns == ("sustainability_score",)
    assert report.offers == 2


def test_the_least_that_is_needed_is_enough(tmp_path: Path) -> None:
    path = write(tmp_path, "acme,moon,m1,H100,8,20", header="provider,region,instance_type,gpu,gpu_count,on_demand")
    offer = only(read_csv(path, on_bad=BadRows.REFUSE, as_of=NOW))
    assert (offer.zone, offer.vcpus, offer.source, offer.usd_per_hour) == ("", 0.0, "", 20.0)


def test_a_semicolon_file_an_utf16_file_and_an_empty_file_say_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="not separated by commas"):
        skip(write(tmp_path, header=HEADER.replace(",", ";")))
    path = tmp_path / "offers.csv"
    path.write_text(f"{HEADER}\n{line()}\n", encoding="utf-16")
    with pytest.raises(SpecError, match="save it as UTF-8"):
        skip(path)
    path.write_bytes(b"")
    with pytest.raises(SpecError, match="the file is empty"):
        skip(path)


def test_a_header_alone_is_no_offers_and_no_fault(tmp_path: Path) -> None:
    report = skip(write(tmp_path))
    assert (report.rows, report.offers, report.bad) == (0, 0, ())


def test_a_file_that_cannot_be_read_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        skip(tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="Is a directory"):
        skip(tmp_path)


def test_faults_of_one_kind_are_counted_together(tmp_path: Path) -> None:
    rows = [line(zone=f"z{number}", on_demand=f"-{number}") for number in range(1, 6)]
    report = skip(write(tmp_path, *rows, line(zone="y", currency="XAU")))
    assert [(first.column, first.message, first.line, count) for first, count in report.faults()] == [
        ("on_demand", "-1 is negative", 2, 5),
        ("currency", "no exchange rate for 'XAU': known are EUR, USD", 7, 1),
    ]


def test_the_real_offers_are_imported_without_losing_a_line(shared_data: Path) -> None:
    report = skip(shared_data / "offers.csv.gz")
    assert report.rows == 4653
    assert report.priceless == 337
    assert report.bad_rows == 324 + 129 + 3, "no GPU count, GPU alone, price 0"
    assert report.good == 3860
    assert report.offers > 5900
    assert report.ignored_columns == ()


def test_the_layout_is_that_of_the_real_file(shared_data: Path) -> None:
    with gzip.open(shared_data / "offers.csv.gz", "rt", encoding="utf-8") as stream:
        assert sorted(stream.readline().strip().split(",")) == sorted(set(COLUMNS) - {"max_lease_h"})


def test_a_lease_that_ends_is_told_of_the_offers_that_say_so_alone(tmp_path: Path) -> None:
    report = skip(write(tmp_path, line(max_lease_h="36"), line(region="us-west-2")))
    told = {(offer.region, offer.max_lease_s) for offer in report.book}
    assert told == {("us-east-1", 36 * 3600.0), ("us-west-2", None)}
    assert skip(write(tmp_path, line())).book.max_lease_s is None
