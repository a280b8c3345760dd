"""The house rules for Kubernetes objects: what the schemas allow and this project does not.

Every function takes parsed objects and returns problems as text; nothing here reads a file of the cluster or runs a program.
"""

import re

IMAGE = "ledgerflux"
USER_ID = 10001
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
LONG_RUNNING = {"Deployment", "StatefulSet", "DaemonSet"}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "StorageClass", "PersistentVolume", "PriorityClass"}
LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KB": 10**3, "MB": 10**6, "GB": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def title(manifest):
    return f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"


def problems(manifests, complete):
    """All problems of one rendering. `complete` is false for a base, to which an overlay adds tags, secrets and a namespace."""
    found = []
    for manifest in manifests:
        found += [f"{title(manifest)}: {problem}" for problem in object_problems(manifest, manifests, complete)]
    found += image_problems(manifests, complete)
    found += shard_problems(manifests)
    found += broker_problems(manifests)
    return found


def object_problems(manifest, manifests, complete):
    kind, metadata = manifest["kind"], manifest["metadata"]
    if kind not in {"ConfigMap", "Secret", "Namespace"}:
        for label in LABELS:
            if label not in metadata.get("labels", {}):
                yield f"the label {label} is missing"
    if complete and kind not in CLUSTER_WIDE and not metadata.get("namespace"):
        yield "no namespace"
    if kind == "Namespace" and metadata.get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace does not enforce the Pod Security level `restricted`"
    if kind == "CronJob" and manifest["spec"].get("concurrencyPolicy") != "Forbid":
        yield "concurrencyPolicy is not Forbid: two runs could overlap"
    if kind in {"Job", "CronJob"}:
        job = manifest["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else manifest["spec"]
        for field in ("activeDeadlineSeconds", "backoffLimit"):
            if field not in job:
                yield f"{field} is not set: the job may run or repeat for ever"
    if kind == "Service":
        yield from service_problems(manifest, manifests)
    if kind == "StatefulSet":
        yield from governing_service_problems(manifest, manifests)
    if kind in WORKLOADS:
        yield from pod_problems(kind, pod_of(manifest), manifests, complete)


def template_of(manifest):
    spec = manifest["spec"]
    return spec["jobTemplate"]["spec"]["template"] if manifest["kind"] == "CronJob" else spec["template"]


def pod_of(manifest):
    return template_of(manifest)["spec"]


def workloads(manifests):
    return [manifest for manifest in manifests if manifest["kind"] in WORKLOADS]


def named(manifests, kind, name):
    return next((manifest for manifest in manifests if manifest["kind"] == kind and manifest["metadata"]["name"] == name), None)


def pod_problems(kind, pod, manifests, complete):
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if not security.get("runAsUser"):
        yield "runAsUser is not set to a user other than root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "the seccomp profile is not RuntimeDefault"
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false: variables of Services could be taken for configuration"
    account = pod.get("serviceAccountName")
    if not account or not named(manifests, "ServiceAccount", account):
        yield f"the service account {account!r} is not among the objects"
    if kind in LONG_RUNNING and "terminationGracePeriodSeconds" not in pod:
        yield "terminationGracePeriodSeconds is not set"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield f"the volume {volume['name']} is a path of the host"
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"the volume {volume['name']} has no sizeLimit"
    yield from reference_problems(pod, manifests, complete)
    for container in pod.get("initContainers", []) + pod["containers"]:
        for problem in container_problems(container, pod):
            yield f"container {container['name']}: {problem}"
    if kind in LONG_RUNNING:
        for container in pod["containers"]:
            for problem in probe_problems(container):
                yield f"container {container['name']}: {problem}"


def container_problems(container, pod):
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield "capabilities are not: drop ALL, add none"
    for field in ("privileged", "runAsUser", "runAsNonRoot", "seccompProfile"):
        if field in security:
            yield f"{field} is set here; it belongs to the pod, once"
    for bound in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            if resource not in container.get("resources", {}).get(bound, {}):
                yield f"resources.{bound}.{resource} is not set"
    if image_name(container) == IMAGE and pod.get("securityContext", {}).get("runAsUser") != USER_ID:
        yield f"{IMAGE} does not run as user {USER_ID}"


def probe_problems(container):
    ports = {port.get("name") for port in container.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe not in container:
            yield f"{probe} is missing"
            continue
        http = container[probe].get("httpGet")
        if http and http["port"] not in ports:
            yield f"{probe} asks the port {http['port']!r}, which the container does not name"
        if image_name(container) == IMAGE:
            expected = {"path": "/ready" if probe == "readinessProbe" else "/health", "port": "ops"}
            if http != expected:
                yield f"{probe} is {http} instead of {expected}"


def reference_problems(pod, manifests, complete):
    """A ConfigMap or Secret that nobody makes keeps the pod from starting."""
    wanted = set()
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            wanted.add(("ConfigMap", volume["configMap"]["name"]))
        if "secret" in volume:
            wanted.add(("Secret", volume["secret"]["secretName"]))
    for container in pod.get("initContainers", []) + pod["containers"]:
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                wanted.add(("ConfigMap", source["configMapRef"]["name"]))
            if "secretRef" in source:
                wanted.add(("Secret", source["secretRef"]["name"]))
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in source:
                    wanted.add((kind, source[field]["name"]))
                    holder = named(manifests, kind, source[field]["name"])
                    keys = {**(holder or {}).get("data", {}), **(holder or {}).get("stringData", {})}
                    if holder and source[field]["key"] not in keys:
                        yield f"{kind}/{source[field]['name']} has no key {source[field]['key']}"
    for kind, name in sorted(wanted):
        if not named(manifests, kind, name) and (complete or kind != "Secret"):
            yield f"{kind}/{name} is not among the objects"


def service_problems(service, manifests):
    selector = service["spec"].get("selector", {})
    selected = [workload for workload in workloads(manifests) if matches(selector, template_of(workload)["metadata"].get("labels", {}))]
    if not selector or len(selected) != 1:
        yield f"its selector matches {len(selected)} workloads instead of one"
    for workload in selected:
        named_ports = {port.get("name") for container in pod_of(workload)["containers"] for port in container.get("ports", [])}
        for port in service["spec"]["ports"]:
            if port.get("targetPort") not in named_ports:
                yield f"targetPort {port.get('targetPort')!r} is no named port of {title(workload)}"


def governing_service_problems(stateful_set, manifests):
    service = named(manifests, "Service", stateful_set["spec"]["serviceName"])
    if service is None or service["spec"].get("clusterIP") != "None":
        yield f"serviceName {stateful_set['spec']['serviceName']} is not a headless Service among the objects"


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def image_name(container):
    return container["image"].split("@")[0].rsplit("/", 1)[-1].split(":")[0]


def image_problems(manifests, complete):
    own = set()
    for manifest in workloads(manifests):
        pod = pod_of(manifest)
        for container in pod.get("initContainers", []) + pod["containers"]:
            image = container["image"]
            is_own = image_name(container) == IMAGE
            if is_own:
                own.add(image)
            tag = image.rsplit("/", 1)[-1].partition(":")[2]
            if tag == "latest" or (not tag and "@sha256:" not in image and (complete or not is_own)):
                yield f"{title(manifest)}: the image {image} has no tag that stays the same"
    if len(own) > 1:
        yield f"several images of {IMAGE} in one rendering: {', '.join(sorted(own))}"


def shard_problems(manifests):
    """The number of pods of a sharded role is the number of shards."""
    for config in manifests:
        text = config.get("data", {}).get("ledgerflux.toml") if config["kind"] == "ConfigMap" else None
        shards = re.search(r"^shards\s*=\s*(\d+)", text, re.MULTILINE) if text else None
        for role in ("normalizer", "snapshotter"):
            workload = named(manifests, "StatefulSet", role)
            if shards and workload and workload["spec"]["replicas"] != int(shards[1]):
                yield f"StatefulSet/{role} has {workload['spec']['replicas']} replicas and bus.shards is {shards[1]}"


def broker_problems(manifests):
    """JetStream must meet its own limit before the disk is full, and keep what it acknowledged."""
    for config in manifests:
        text = config.get("data", {}).get("nats.conf") if config["kind"] == "ConfigMap" else None
        broker = named(manifests, "StatefulSet", "nats")
        if not text or not broker:
            continue
        limit = re.search(r"^\s*max_file_store:\s*(\d+)(\w*)", text, re.MULTILINE)
        claim = broker["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
        if not limit or size(limit[1] + limit[2]) >= size(claim):
            yield f"StatefulSet/nats: max_file_store is not below the volume of {claim}"
        if broker["spec"]["replicas"] == 1 and not re.search(r"^\s*sync_interval:\s*always\b", text, re.MULTILINE):
            yield "StatefulSet/nats: a single node without `sync_interval: always` loses acknowledged messages with its power"


def size(text):
    number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()
    return int(number) * UNITS[unit]


def components(kustomization):
    return {path.rstrip("/").rsplit("/", 1)[-1] for path in kustomization.get("components", [])}


def skaffold_problems(skaffold, root):
    artifacts = skaffold["build"]["artifacts"]
    if [artifact["image"] for artifact in artifacts] != [IMAGE]:
        yield f"skaffold.yaml: builds {[artifact['image'] for artifact in artifacts]} instead of {IMAGE} alone"
    for artifact in artifacts:
        if not (root / artifact["docker"]["dockerfile"]).is_file():
            yield f"skaffold.yaml: {artifact['docker']['dockerfile']} does not exist"
    for path in skaffold["manifests"]["kustomize"]["paths"]:
        if not (root / path / "kustomization.yaml").is_file():
            yield f"skaffold.yaml: {path} is no kustomization"


def dockerfile_problems(text):
    users = re.findall(r"^USER\s+(\S+)", text, re.MULTILINE)
    if not users or users[-1].split(":")[0] != str(USER_ID):
        yield f"Dockerfile: the last USER is not {USER_ID}"
    if not re.search(r"^RUN .*?cargo build --locked", text, re.MULTILINE | re.DOTALL):
        yield "Dockerfile: the build does not use --locked"
    for image in re.findall(r"^FROM\s+(\S+)", text, re.MULTILINE):
        if image != "scratch" and (":" not in image or image.endswith(":latest")):
            yield f"Dockerfile: the image {image} has no tag that stays the same"
