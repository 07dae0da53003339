"""What `run.json` holds of the environment an engine ran in."""

from engine_probe.hook.engine_core import engine_settings


def test_variables_that_set_how_it_computes_are_recorded_without_secrets_and_places() -> None:
    kept = {"VLLM_BATCH_INVARIANT": "1", "OMP_NUM_THREADS": "2", "TORCHINDUCTOR_CACHE_DIR": "x"}
    left_out = {"VLLM_API_KEY": "s", "VLLM_HOST_IP": "10.0.0.1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "PATH": "/bin"}
    left_out |= {"VLLM_DIST_IDENT": "vllm_dist_1", "VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME": "vllm_mm_1"}
    assert engine_settings(kept | left_out) == kept
