"""Importing the catalogues that others keep: gpuhunt's and SkyPilot's, as files, zips and folders."""

from __future__ import annotations

import gzip
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.catalog import archive, community, intake, sheet
from orchestrator.catalog.importer import BadRows, ImportReport
from orchestrator.catalog.intake import Wishes
from orchestrator.domain.errors import ConfigError, SpecError, UserError
from orchestrator.domain.offer import Billing, Offer

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OF = datetime(2026, 11, 20, tzinfo=UTC)
GPUHUNT = (
    "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,gpu_vendor,flags,cpu_arch,"
    "provider_data"
)
SKYPILOT = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch"
)
GOOGLE = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice"
H100 = "p5.48xlarge,us-east-1,55.04,192,2048.0,8,H100,80.0,False,,nvidia,,x86,{}"
H100_SPOT = "p5.48xlarge,us-east-1,20.5,192,2048.0,8,H100,80.0,True,,nvidia,,x86,{}"


def info(name: str, mib: float) -> str:
    gpu = {"Name": name, "Manufacturer": "NVIDIA", "Count": 8.0, "MemoryInfo": {"SizeInMiB": mib}}
    return f'"{ ({"Gpus": [gpu], "TotalGpuMemoryInMiB": 1}) }"'


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def zipped(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archived:
        for name, text in files.items():
            archived.writestr(zipfile.ZipInfo(name, (2026, 11, 19, 8, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return path


def read(path: Path, **changes: object) -> ImportReport:
    wishes = {"on_bad": BadRows.SKIP, "as_of": OF, "now": NOW, **changes}
    report = intake.read(path, Wishes(**wishes))  # type: ignore[arg-type]
    assert report.rows == report.good + report.priceless + report.bad_rows + sum(n for _, n in report.left_out)
    return report


def offers(report: ImportReport) -> list[Offer]:
    assert not report.bad, report.bad
    return list(report.book)


def test_a_row_of_gpuhunt_is_a_price_on_demand_or_on_spot(tmp_path: Path) -> None:
    report = read(write(tmp_path / "aws.csv", GPUHUNT, H100, H100_SPOT))
    on_demand, spot = offers(report)
    assert (report.formats, report.providers) == (("gpuhunt catalogue",), ("aws",))
    assert (on_demand.billing, on_demand.usd_per_hour, spot.billing, spot.usd_per_hour) == (
        Billing.ON_DEMAND,
        55.04,
        Billing.SPOT,
        20.5,
    )
    assert (on_demand.provider, on_demand.region, on_demand.zone) == ("aws", "us-east-1", "")
    assert (on_demand.accelerator, on_demand.gpus, on_demand.vcpus, on_demand.host_memory_gib) == (
        "H100-SXM",
        8.0,
        192.0,
        2048.0,
    )
    assert (on_demand.available, on_demand.interruption_rate, spot.interruption_rate) == (None, 0.0, None)
    assert (on_demand.observed_at, on_demand.source) == (OF, "gpuhunt catalogue 2026-11-20")
    assert on_demand.fabric == "efa"


def test_machines_without_a_gpu_are_left_out_whatever_they_cost(tmp_path: Path) -> None:
    bare = "m7i.large,us-east-1,nonsense,2,8.0,0,,,False,,,,x86,{}"
    report = read(write(tmp_path / "aws.csv", GPUHUNT, bare, H100))
    assert len(offers(report)) == 1
    assert report.left_out == ((community.NO_GPU, 1),)


def test_a_location_of_google_is_a_zone_of_a_region(tmp_path: Path) -> None:
    row = "a2-highgpu-1g,us-central1-a,3.67,12,85.0,1,A100,40.0,False,,nvidia,,x86,{}"
    [offer] = offers(read(write(tmp_path / "gcp.csv", GPUHUNT, row)))
    assert (offer.region, offer.zone, offer.accelerator) == ("us-central1", "us-central1-a", "A100-40GB")


def test_gpus_that_the_buyer_adds_are_part_of_the_instance_type(tmp_path: Path) -> None:
    rows = [f"n1-standard-8,us-central1-a,{n}.5,8,30.0,{n},T4,16.0,False,,nvidia,,x86,{{}}" for n in (1, 2)]
    found = offers(read(write(tmp_path / "gcp.csv", GPUHUNT, *rows)))
    assert [offer.instance_type for offer in found] == ["n1-standard-8 + 1x T4", "n1-standard-8 + 2x T4"]
    rows = [f"NVIDIA L4,US-KS-2,{n * 0.5},8,30.0,{n},L4,24,False,,nvidia,,x86,{{}}" for n in (1, 4)]
    cluster = 'NVIDIA L4,US-KS-2,9,8,30.0,4,L4,24,False,,nvidia,runpod-cluster,x86,"{""pod_counts"": [2, 3]}"'
    found = offers(read(write(tmp_path / "runpod.csv", GPUHUNT, *rows, cluster)))
    assert [offer.instance_type for offer in found] == ["1x NVIDIA L4", "4x NVIDIA L4", "4x NVIDIA L4 cluster"]


def test_prices_of_capacity_booked_ahead_are_not_taken_for_prices_on_demand(tmp_path: Path) -> None:
    booked = "a3-ultragpu-8g,us-east4-b,40.0,224,2952.0,8,H200,141.0,False,,nvidia,gcp-dws-calendar-mode,x86,{}"
    report = read(write(tmp_path / "gcp.csv", GPUHUNT, booked))
    assert (offers(report), report.left_out) == ([], ((community.OTHER_TERMS, 1),))


@pytest.mark.parametrize(
    ("row", "device", "gpus"),
    [
        ("NVIDIA H100 PCIe,US-KS-2,2.4,16,188,1,H100,80,False,,nvidia,,x86,{}", "H100-PCIe", 1.0),
        ("NVIDIA H100 80GB HBM3,US-KS-2,2.7,16,188,1,H100,80,False,,nvidia,,x86,{}", "H100-SXM", 1.0),
        ("Standard_NC40ads_H100_v5,eastus,6.98,40,320,1,H100NVL,94,False,,nvidia,,x86,{}", "H100-NVL", 1.0),
        ("Standard_NV6ads_A10_v5,eastus,0.454,6,55,1,A10,4,False,,nvidia,,x86,{}", "A10", 1 / 6),
        ("p4de.24xlarge,us-east-1,27.4,96,1152,8,A100,80,False,,nvidia,,x86,{}", "A100-80GB", 8.0),
        ("p4d.24xlarge,us-east-1,21.9,96,1152,8,A100,40,False,,nvidia,,x86,{}", "A100-40GB", 8.0),
        ("p4x,us-east-1,21.9,96,1152,8,A100,64,False,,nvidia,,x86,{}", "A100", 8.0),
        ("quantum,us-east-1,21.9,96,1152,1,Abacus,64,False,,nvidia,,x86,{}", "Abacus", 1.0),
        ("v6e-8,us-east1,21.9,96,1152,1,v6e-8,256,False,,google,,x86,{}", "v6e-8", 1.0),
    ],
)
def test_a_device_is_known_by_its_name_its_memory_and_its_board(
    tmp_path: Path, row: str, device: str, gpus: float
) -> None:
    report = read(write(tmp_path / "azure.csv", GPUHUNT, row))
    [offer] = offers(report)
    assert (offer.accelerator, offer.gpus) == (device, pytest.approx(gpus))
    assert report.unknown_gpus == ((device,) if device in ("A100", "Abacus", "v6e-8") else ())


@pytest.mark.parametrize(
    ("old", "new", "column", "says"),
    [
        (",55.04,", ",0,", "price", "0 is no price"),
        (",55.04,", ",-3,", "price", "negative"),
        (",55.04,", ",inf,", "price", "not a number"),
        (",55.04,", ",1_000,", "price", "not a number"),
        (",55.04,", ",900000,", "price", "absurd"),
        (",8,", ",eight,", "gpu_count", "not a number"),
        (",8,", ",,", "gpu_count", "number of GPUs"),
        (",8,", ",99999,", "gpu_count", "no number of GPUs"),
        (",H100,", ",,", "gpu_name", "empty"),
        (",80.0,", ",big,", "gpu_memory", "not a number"),
        (",192,", ",many,", "cpu", "not a number"),
        ("us-east-1", "", "location", "empty"),
        ("p5.48xlarge", "", "instance_name", "empty"),
        (",False,", ",maybe,", "spot", "neither True nor False"),
        (",{}", "", "", "13 fields where the header has 14"),
        (",{}", ',"{', "", "not a CSV line"),
    ],
)
def test_a_bad_row_is_reported_with_its_line_and_spoils_no_other(
    tmp_path: Path, old: str, new: str, column: str, says: str
) -> None:
    path = write(tmp_path / "aws.csv", GPUHUNT, H100_SPOT, H100.replace(old, new, 1), H100.replace("east", "west"))
    report = read(path)
    assert report.offers == 2
    assert [(bad.line, bad.column) for bad in report.bad] == [(3, column)]
    assert says in report.bad[0].message
    with pytest.raises(SpecError, match=f"{path}:3"):
        read(path, on_bad=BadRows.REFUSE)


def test_bytes_that_are_no_utf8_stay_in_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "aws.csv", GPUHUNT, H100)
    path.write_bytes(path.read_bytes() + H100.replace("us-east-1", "köln").encode("latin-1") + b"\n")
    report = read(path)
    assert (report.offers, [bad.line for bad in report.bad]) == (1, [3])


def test_a_byte_order_mark_and_dos_line_ends_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "aws.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join((GPUHUNT, H100, "", "   ")).encode())
    assert len(offers(read(path))) == 1


def test_a_row_that_says_the_same_again_is_counted_and_one_that_contradicts_is_a_fault(tmp_path: Path) -> None:
    report = read(write(tmp_path / "aws.csv", GPUHUNT, H100, H100, H100_SPOT))
    assert (report.offers, report.left_out) == (2, ((community.REPEATED, 1),))
    report = read(write(tmp_path / "aws.csv", GPUHUNT, H100, H100.replace("55.04", "56")))
    assert report.offers == 1
    assert [(bad.line, bad.column) for bad in report.bad] == [(3, "instance_name")]
    assert "line 2" in report.bad[0].message


def test_a_line_without_end_is_one_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "aws.csv", GPUHUNT, "x" * (sheet.MOST_CHARACTERS + 1), H100)
    report = read(path)
    assert (report.offers, [bad.line for bad in report.bad]) == (1, [2])


def test_a_file_that_was_cut_off_keeps_its_whole_lines(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join([GPUHUNT, *(H100.replace("east-1", f"east-{n}") for n in range(2000))]).encode())
    path = tmp_path / "aws.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    report = read(path)
    assert 0 < report.offers < 2000
    assert [bad.message for bad in report.bad] == [sheet.CUT_OFF]


def test_the_provider_is_that_of_the_file_the_folder_or_the_option(tmp_path: Path) -> None:
    for name in ("lambdalabs.csv", "lambda/vms.csv", "lambda.csv.gz"):
        assert community.provider_of(PurePosixPath("/x", name)) == "lambda"
    assert community.provider_of(PurePosixPath("/x/prices.csv")) is None
    path = write(tmp_path / "prices.csv", GPUHUNT, H100)
    with pytest.raises(SpecError, match="--provider"):
        read(path)
    assert offers(read(path, provider="aws"))[0].provider == "aws"
    with pytest.raises(UserError, match="names no provider"):
        read(path, provider="A W S")


def test_a_zip_of_gpuhunt_dates_its_prices_and_names_the_file_of_a_fault(tmp_path: Path) -> None:
    files = {"aws.csv": f"{GPUHUNT}\n{H100}\n", "azure.csv": f"{GPUHUNT}\n{H100}\n{H100_SPOT.replace('20.5', '0')}\n"}
    report = read(
        zipped(tmp_path / "catalog.data", **files, **{"README.md": "hello", "x.csv": "a,b\n1,2\n"}), as_of=None
    )
    assert (report.offers, report.providers, report.passed_over) == (2, ("aws", "azure"), ("x.csv",))
    assert {offer.observed_at for offer in report.book} == {datetime(2026, 11, 19, tzinfo=UTC)}
    assert report.file_dated == datetime(2026, 11, 19, tzinfo=UTC)
    assert [(bad.file, bad.line) for bad in report.bad] == [(f"{tmp_path / 'catalog.data'}/azure.csv", 3)]


def test_a_file_is_dated_by_its_modification_and_never_in_the_future(tmp_path: Path) -> None:
    path = write(tmp_path / "aws.csv", GPUHUNT, H100)
    os.utime(path, (OF.timestamp(), OF.timestamp()))
    assert [offer.observed_at for offer in read(path, as_of=None).book] == [OF]
    os.utime(path, (NOW.timestamp() + 9e6, NOW.timestamp() + 9e6))
    assert [offer.observed_at for offer in read(path, as_of=None).book] == [NOW]


def test_a_zip_bomb_is_refused_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 1 << 20)
    bomb = zipped(tmp_path / "bomb.zip", **{"aws.csv": GPUHUNT + "\n" * (4 << 20)})
    assert bomb.stat().st_size < 1 << 16
    with pytest.raises(SpecError, match="unpacks to more than 1 MiB"):
        read(bomb)


def test_a_zip_of_many_files_or_of_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 2)
    with pytest.raises(SpecError, match="3 CSVs, more than 2"):
        read(zipped(tmp_path / "many.zip", **{f"{n}.csv": "a" for n in range(3)}))
    with pytest.raises(SpecError, match="no CSV in it"):
        read(zipped(tmp_path / "none.zip", **{"a.txt": "a"}))
    with pytest.raises(SpecError, match="offers CSV"):
        read(zipped(tmp_path / "strange.zip", **{"a.csv": "a,b\n"}))


def test_a_damaged_zip_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = zipped(tmp_path / "catalog.zip", **{"aws.csv": "\n".join([GPUHUNT, *([H100] * 500)])})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(SpecError, match="damaged"):
        read(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SpecError, match="damaged"):
        read(path)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.zip cannot be read"):
        read(tmp_path / "nothing.zip")


def test_a_row_of_skypilot_makes_an_offer_for_each_of_its_prices(tmp_path: Path) -> None:
    row = f"p4d.24xlarge,A100,8.0,96.0,1152.0,{info('A100', 40960)},21.9,7.5,us-east-1,use1-az2,x86_64"
    bare = "m6i.large,,,2.0,8.0,,0.096,0.0223,us-east-1,use1-az1,x86_64"
    report = read(write(tmp_path / "v8" / "aws" / "vms.csv", SKYPILOT, row, bare))
    on_demand, spot = offers(report)
    assert (report.formats, report.providers) == (("SkyPilot catalogue",), ("aws",))
    assert (on_demand.region, on_demand.zone, on_demand.accelerator) == ("us-east-1", "use1-az2", "A100-40GB")
    assert (on_demand.usd_per_hour, spot.usd_per_hour, spot.billing) == (21.9, 7.5, Billing.SPOT)
    assert report.left_out == ((community.NO_GPU, 1),)


@pytest.mark.parametrize(
    ("name", "size", "kind", "device"),
    [
        ("A100-80GB", info("A100 PCIe", 80), "1x_A100-80GB_SECURE", "A100-PCIe-80GB"),
        ("H100", info("H100", 81920), "gpu_1x_h100_pcie", "H100-PCIe"),
        ("H100", info("H100", 80), "lambdalabs_H100-sxm5x8", "H100-SXM"),
        ("V100", info("V100", 16384), "gpu_8x_v100", "V100-16GB"),
        ("V100", "", "p3.2xlarge", "V100-16GB"),
        ("V100-32GB", info("V100-32GB", 32), "paperspace_V100-32GB", "V100-32GB"),
        ("A100", info("A100", 61440), "odd", "A100"),
    ],
)
def test_skypilots_facts_of_a_gpu_tell_its_board_and_memory_in_either_unit(
    tmp_path: Path, name: str, size: str, kind: str, device: str
) -> None:
    row = f"{kind},{name},1.0,8.0,64.0,{size},2.5,,us-1,,x86_64"
    [offer] = offers(read(write(tmp_path / "runpod.csv", SKYPILOT, row)))
    assert offer.accelerator == device


def test_googles_machines_are_joined_with_the_prices_of_their_gpus(tmp_path: Path) -> None:
    rows = [
        "a2-highgpu-1g,12.0,85.0,,,,us-central1,us-central1-a,0.75,0.25",
        "a2-highgpu-1g,12.0,85.0,,,,us-central1,us-central1-b,0.75,0.25",
        f",,,A100,1.0,{info('A100', 40960)},us-central1,us-central1-a,3.0,1.0",
        f",,,T4,1.0,{info('T4', 16384)},us-central1,us-central1-a,0.35,0.1",
        ",,,tpu-v6e-8,1,tpu-v6e-8,asia-east1,asia-east1-c,700.0,700.0",
        "n2-standard-2,2.0,8.0,,,,us-central1,us-central1-a,0.08,0.02",
    ]
    report = read(write(tmp_path / "gcp" / "vms.csv", GOOGLE, *rows))
    on_demand, spot = offers(report)
    assert (on_demand.label, on_demand.usd_per_hour, spot.usd_per_hour) == (
        "gcp us-central1/us-central1-a a2-highgpu-1g on-demand",
        3.75,
        1.25,
    )
    assert (on_demand.accelerator, on_demand.gpus, on_demand.vcpus) == ("A100-40GB", 1.0, 12.0)
    assert dict(report.left_out) == {community.JOINED: 1, community.NO_MACHINE: 2, community.NO_GPU: 2}


def test_two_prices_of_the_same_gpus_in_a_zone_are_a_fault(tmp_path: Path) -> None:
    rows = [
        "a2-highgpu-1g,12.0,85.0,,,,us-central1,us-central1-a,0.75,",
        *(f",,,A100,1.0,,us-central1,us-central1-a,{price},{spot}" for price, spot in ((3, ""), (3, ""), (4, 1))),
    ]
    report = read(write(tmp_path / "gcp.csv", GOOGLE, *rows))
    assert [offer.usd_per_hour for offer in report.book] == [3.75]
    assert [(bad.line, bad.message) for bad in report.bad] == [(5, "line 3 prices the same GPUs otherwise")]


def test_a_bad_price_of_a_gpu_spoils_the_machines_that_have_it(tmp_path: Path) -> None:
    rows = [
        "a2-highgpu-1g,12.0,85.0,,,,us-central1,us-central1-a,0.75,0.25",
        f",,,A100,1.0,{info('A100', 40960)},us-central1,us-central1-a,three,1.0",
    ]
    report = read(write(tmp_path / "gcp.csv", GOOGLE, *rows))
    assert report.offers == 0
    assert [(bad.line, bad.column) for bad in report.bad] == [(2, "price"), (3, "price")]
    assert "line 3" in report.bad[0].message


def test_of_a_folder_of_versions_the_newest_of_each_provider_is_read(tmp_path: Path) -> None:
    row = "x,T4,1.0,8.0,64.0,,{},,us-1,,x86_64"
    for version, price in (("v5", 1), ("v10", 2), ("v8", 3)):
        write(tmp_path / "catalogs" / version / "aws" / "vms.csv", SKYPILOT, row.format(price))
    write(tmp_path / "catalogs" / "v8" / "aws" / "images.csv", "Tag,Region", "x,y")
    report = read(tmp_path)
    assert [offer.usd_per_hour for offer in offers(report)] == [2.0]
    assert len(report.passed_over) == 3


def test_two_catalogues_of_a_provider_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path / "a" / "aws.csv", GPUHUNT, H100)
    write(tmp_path / "b" / "aws.csv", GPUHUNT, H100)
    with pytest.raises(UserError, match="both hold"):
        read(tmp_path)


def test_our_own_csv_is_read_as_before_and_says_so(tmp_path: Path) -> None:
    header = "provider,region,instance_type,gpu,gpu_count,on_demand"
    report = read(write(tmp_path / "mine.csv", header, "acme,moon,x1,T4,1,0.5"))
    assert (report.formats, len(offers(report))) == (("offers CSV",), 1)


def test_a_header_of_nothing_known_is_refused_with_our_columns(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="instance_type"):
        read(write(tmp_path / "x.csv", "a,b,c", "1,2,3"))


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="more than once"):
        read(write(tmp_path / "aws.csv", GPUHUNT + ",price", H100 + ",1"))


def test_a_catalogue_without_rows_is_no_offers(tmp_path: Path) -> None:
    for header in (GPUHUNT, SKYPILOT):
        report = read(write(tmp_path / "aws.csv", header))
        assert (report.rows, report.offers) == (0, 0)
