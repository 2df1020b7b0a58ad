"""python -m tests.k8s.schemas FOLDER: take the schemas of custom resources from the CRDs in FOLDER, as released.

Those here are of KubeRay 1.7.0 and Kueue 0.19, both under the Apache License 2.0, without descriptions and versions
that are not stored. Except RayService's: it is put together of RayCluster's spec as released and of the fields around
it that KubeRay's documentation names, so it may lack some; the released CRD, when it is at hand, replaces it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml


def main(folder: Path) -> None:
    for file in sorted(folder.glob("*.yaml")):
        for crd in yaml.load_all(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if not crd or crd["kind"] != "CustomResourceDefinition":
                continue
            names, group = crd["spec"]["names"], crd["spec"]["group"]
            for version in (version for version in crd["spec"]["versions"] if version["storage"]):
                schema = _without_descriptions(version["schema"]["openAPIV3Schema"])
                text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
                name = f"{names['kind'].lower()}_{group}_{version['name']}.json"
                (Path(__file__).parent / name).write_text(text + "\n")
                print(name)


def _without_descriptions(schema: object) -> object:
    if isinstance(schema, list):
        return [_without_descriptions(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {k: _without_descriptions(v) for k, v in schema.items() if k != "description" or isinstance(v, dict)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
