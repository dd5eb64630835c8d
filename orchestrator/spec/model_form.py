"""The job file's model section: a known name, a Hugging Face config.json, or numbers, and the model it means."""

# No postponed annotations here: pydantic would have to evaluate each of hundreds of strings at every start.

from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from orchestrator.domain.consistency import Contradicted, Contradiction, uneven_groups
from orchestrator.domain.errors import SpecError
from orchestrator.domain.workload import Model
from orchestrator.spec.counting import misfit
from orchestrator.spec.fields import Count, Flag, Text, Whole, flaw
from orchestrator.spec.models import find_model, from_config_json, nearest_models
from orchestrator.spec.quantity import shown
from orchestrator.spec.section import Form, base_folder, contradicted


class ModelForm(Form):
    """The model: a known name, a Hugging Face config.json, or its numbers."""

    SHAPE: ClassVar[tuple[str, ...]] = (
        *("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary"),
        *("feed_forward", "gated", "experts", "experts_per_token"),
    )

    name: Text | None = Field(
        None,
        description="A known model's name or Hugging Face id; beside numbers or a config, a name of your own.",
        examples=["llama-3.1-8b", "meta-llama/Llama-3.1-8B"],
    )
    config: Text | None = Field(
        None,
        description="Path of a Hugging Face config.json, relative to the job file; the parameters are counted from it.",
        examples=["model/config.json"],
    )
    parameters: Count | None = Field(None, description="Parameters in all.", examples=["7B", "46.7B"])
    active_parameters: Count | None = Field(
        None,
        description="Parameters that one token passes: fewer than all in a mixture of experts. Default: all.",
        examples=["12.9B"],
    )
    layers: Whole | None = Field(None, description="Transformer blocks.", examples=[32])
    hidden: Whole | None = Field(None, description="Width of the residual stream.", examples=[4096])
    heads: Whole | None = Field(None, description="Query heads.", examples=[32])
    kv_heads: Whole | None = Field(
        None, description="Key-value heads: fewer than `heads` with grouped queries. Default: `heads`.", examples=[8]
    )
    head_dim: Whole | None = Field(None, description="Width of one head. Default: hidden / heads.", examples=[128])
    vocabulary: Whole | None = Field(None, description="Entries of the tokenizer.", examples=[128256])
    feed_forward: Whole | None = Field(
        None, description="Width of the feed-forward network; of one expert in a mixture.", examples=[14336]
    )
    gated: Flag | None = Field(
        None, description="Whether the feed-forward network has three matrices (SwiGLU) or two.", examples=[True]
    )
    experts: Whole | None = Field(None, description="Experts of a layer in a mixture, shared ones aside.", examples=[8])
    experts_per_token: Whole | None = Field(None, description="Experts that one token passes in a layer.", examples=[2])
    context_length: Whole | None = Field(
        None,
        description="The longest sequence it is made for; beside a name or a config, one that you extend it to.",
        examples=[131072],
    )

    _resolved: Model | None = PrivateAttr(None)

    @property
    def resolved(self) -> Model:
        """The model that the section names."""
        if self._resolved is None:
            raise RuntimeError("a validated model section holds its model")
        return self._resolved

    @model_validator(mode="after")
    def _resolve(self, info: ValidationInfo) -> "ModelForm":
        numbers = [name for name in ("parameters", "active_parameters", *self.SHAPE) if getattr(self, name) is not None]
        if self.config is not None:
            if numbers:
                raise flaw("has a config and numbers", f"leave out {', '.join(numbers)}, or the config")
            model = _configured(self.config, self.name, base_folder(info))
        elif self.parameters is not None:
            model = self._numbered(self.parameters)
        elif numbers:
            raise flaw("has numbers but no parameters", "add parameters, such as 7B")
        elif self.name is not None:
            model = _known(self.name)
        else:
            raise flaw("is empty", "expected a known name, config: or parameters:")
        if self.context_length is not None:
            model = replace(model, context_length=self.context_length)
        self._resolved = model
        return self

    def _numbered(self, parameters: float) -> Model:
        active = self.active_parameters if self.active_parameters is not None else parameters
        found: tuple[Contradiction, ...] = tuple(uneven_groups(self.heads, self.kv_heads))
        try:
            model = Model(
                name=self.name or "custom",
                parameters=parameters,
                active_parameters=active,
                layers=self.layers,
                hidden=self.hidden,
                heads=self.heads,
                kv_heads=self.kv_heads if self.kv_heads is not None else self.heads,
                head_dim=self.head_dim,
                vocabulary=self.vocabulary,
                feed_forward=self.feed_forward,
                gated=self.gated,
                experts=self.experts,
                experts_per_token=self.experts_per_token,
                source="job file",
            )
            found += tuple(misfit(model))
        except Contradicted as error:
            found += error.contradictions
        if found:
            raise contradicted(self, found)
        if model.head_dim is None and self.hidden is not None and self.heads is not None:
            return replace(model, head_dim=self.hidden // self.heads)
        return model


def _known(name: str) -> Model:
    model = find_model(name)
    if model is None:
        near = nearest_models(name)
        mean = f"did you mean {' or '.join(near)}? " if near else ""
        raise flaw(f"{shown(name)} is not a known model", f"{mean}or give config: or parameters:")
    return model


def _configured(config: str, name: str | None, base: Path) -> Model:
    path = base / Path(config).expanduser()
    try:
        model = from_config_json(path)
    except SpecError as error:
        raise flaw(f"config cannot be used: {str(error).replace(chr(10), '; ')}") from None
    chosen = name or (path.parent.name if path.name == "config.json" else path.stem) or model.name
    return replace(model, name=chosen)


def _named(value: object) -> object:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        raise flaw("is neither a name nor a mapping", "expected a name such as llama-3.1-8b, or a mapping")
    return value


ModelSection = Annotated[ModelForm, BeforeValidator(_named)]
