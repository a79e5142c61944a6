"""Takes Istio's AuthorizationPolicy documents apart: which workload each is for, what it does, and its rules."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from authz.policy.importing.document import Spot

_API = "security.istio.io/"
_KIND = "AuthorizationPolicy"
_DRY_RUN = "istio.io/dry-run"
_MATCH_ALL = "(all workloads)"


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload as selectors see it."""

    namespace: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """The workloads that a policy is for."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    references: tuple[str, ...]

    def means(self, workload: Workload, root: str) -> bool:
        """Whether the workload is one of them; policies of the `root` namespace are for all namespaces."""
        return self.namespace in (root, workload.namespace) and all(
            workload.labels.get(name) == value for name, value in self.labels
        )

    def __str__(self) -> str:
        selected = ", ".join([f"{name}={value}" for name, value in self.labels] + list(self.references))
        return f"namespace {self.namespace}, {selected or _MATCH_ALL}"


@dataclass(frozen=True, slots=True)
class IstioPolicy:
    """One AuthorizationPolicy."""

    name: str
    """Namespace and name."""
    target: Target
    action: str
    rules: tuple[Spot, ...]
    spot: Spot
    dry_run: bool


def policies(document: Spot) -> "Iterator[IstioPolicy | Spot]":
    """The policies in a document; a document of another kind is given back as it is.

    Raises:
        Misplaced: A policy is not of the form that Istio defines.
    """
    members = document.mapping
    kind = members["kind"].word if "kind" in members else ""
    if kind in ("List", f"{_KIND}List"):
        for item in members["items"].items if "items" in members else ():
            yield from policies(item)
        return
    version = members["apiVersion"].word if "apiVersion" in members else ""
    if kind != _KIND or not version.startswith(_API):
        yield document
        return
    metadata = members["metadata"].mapping if "metadata" in members else {}
    namespace = metadata["namespace"].word if "namespace" in metadata else "default"
    name = metadata["name"].word if "name" in metadata else f"line-{document.line}"
    annotations = metadata["annotations"].value if "annotations" in metadata else None
    dry = annotations.get(_DRY_RUN) if isinstance(annotations, dict) else None
    spec = members.get("spec")
    fields = spec.mapping if spec is not None and spec.value is not None else {}
    refuse_unknown(fields, ("selector", "targetRef", "targetRefs", "action", "rules", "provider"))
    rules = fields.get("rules")
    yield IstioPolicy(
        name=f"{namespace}/{name}",
        target=_target(namespace, fields),
        action=fields["action"].word if "action" in fields else "ALLOW",
        rules=tuple(rules.items) if rules is not None and rules.value not in (None, []) else (),
        spot=document,
        dry_run=dry is not None and dry.value == "true",
    )


def refuse_unknown(members: Mapping[str, Spot], known: Collection[str]) -> None:
    """Refuse a field that could mean something that is not understood here.

    Raises:
        Misplaced: There is one.
    """
    for name, spot in members.items():
        if name not in known:
            raise spot.refuse(f"{name} is not translated")


def _target(namespace: str, fields: Mapping[str, Spot]) -> Target:
    labels: tuple[tuple[str, str], ...] = ()
    if "selector" in fields and fields["selector"].value is not None:
        selector = fields["selector"].mapping
        refuse_unknown(selector, ("matchLabels",))
        matched = selector["matchLabels"].mapping if "matchLabels" in selector else {}
        labels = tuple(sorted((name, spot.word) for name, spot in matched.items()))
    references: list[str] = []
    for field in ("targetRef", "targetRefs"):
        if field in fields:
            listed = fields[field].items if field == "targetRefs" else [fields[field]]
            references += [
                "/".join(f"{name}={spot.word}" for name, spot in sorted(each.mapping.items())) for each in listed
            ]
    return Target(namespace, labels, tuple(references))
