"""A KV connector that claims to hold the first tokens of some prompts, as a request's number tells it."""

from typing import Any

from vllm.config import KVTransferConfig
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, KVConnectorMetadata
from vllm.v1.engine.llm_engine import LLMEngine

from tests.support.engines.scheduler_engine import scheduler_engine

SUPPLIED = 32  # tokens
loaded: dict[str, int] = {}  # what vLLM told the connector to load, by request


def number(request: Any) -> int:
    return int(request.request_id.split("-")[0])


class PlantedConnector(KVConnectorBase_V1):
    """Every third request finds nothing, every third is supplied at once, every third in a later step."""

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int, bool]:
        kind = number(request) % 3
        return (SUPPLIED, kind == 2) if kind else (0, False)

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        loaded[request.request_id] = loaded.get(request.request_id, 0) + num_external_tokens

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        return KVConnectorMetadata()

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None: ...

    def wait_for_layer_load(self, layer_name: str) -> None: ...

    def save_kv_layer(self, *args: Any, **kwargs: Any) -> None: ...

    def wait_for_save(self) -> None: ...


def engine_with_connector() -> LLMEngine:
    transfer = KVTransferConfig(
        kv_connector="PlantedConnector",
        kv_connector_module_path="tests.support.engines.planted_connector",
        kv_role="kv_both",
        kv_load_failure_policy="recompute",
    )
    return scheduler_engine(kv_transfer_config=transfer, num_gpu_blocks_override=200)
