"""Settings of the AWS provider."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import ConfigError
from providers.aws.settings import AwsSettings


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"regionz": ["us-east-1"]}, "regionz"),
        ({"regions": "us-east-1"}, "list of texts"),
        ({"regions": [""]}, "list of texts"),
        ({"endpoints": {"s3": "http://x"}}, "s3"),
        ({"endpoints": "http://x"}, "table of addresses"),
        ({"control_cidr": "here"}, "here"),
        ({"control_cidr": "10.0.0.1/8"}, "host bits"),
        ({"image": "debian"}, "ami-"),
        ({"access_key_id": "env:A"}, "together"),
        ({"read_timeout_s": 0}, "above 0"),
        ({"disk_gib": -1}, "at least 0"),
        ({"capacity_block_hours": 30}, "multiple of 24"),
        ({"instance_types": []}, "at least one"),
    ],
)
def test_a_bad_setting_is_named(table: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read(AwsSettings, table, where="providers.aws")


def test_questions_about_all_regions_go_home() -> None:
    assert AwsSettings().home == "us-east-1"
    assert AwsSettings(regions=("eu-west-1", "eu-west-2")).home == "eu-west-1"
    assert AwsSettings(regions=("eu-west-1",), home_region="us-west-2").home == "us-west-2"
