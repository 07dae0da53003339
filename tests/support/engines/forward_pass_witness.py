"""Forward-pass metrics as Dynamo's scheduler takes them: a walk over vLLM's own batch and queues in every step."""

from __future__ import annotations

from statistics import pvariance
from typing import Any

from engine_probe.analysis.forward_passes.derivation import forward_passes


class ForwardPassWitness:
    """Attach before the probe; `differences(run)` afterwards."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.passes: list[dict[str, float]] = []
        self._batches: list[tuple[Any, dict[str, float]]] = []
        self._schedule, self._update = scheduler.schedule, scheduler.update_from_output
        scheduler.schedule, scheduler.update_from_output = self.schedule, self.update

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        output = self._schedule(*args, **kwargs)
        tokens = output.num_scheduled_tokens
        prefills, decodes = [], []  # (prompt, tokens, KV)
        for new in output.scheduled_new_reqs:
            prefills.append((self.prompt(new.req_id), tokens[new.req_id], new.num_computed_tokens))
        cached = output.scheduled_cached_reqs
        for name, computed, answered in zip(
            cached.req_ids, cached.num_computed_tokens, cached.num_output_tokens, strict=True
        ):
            if answered:
                decodes.append(computed)
            else:
                prefills.append((self.prompt(name), tokens[name], computed))
        self._batches.append((output, {
            "scheduled_num_prefill_requests": len(prefills),
            "scheduled_sum_prefill_tokens": sum(tokens for _, tokens, _ in prefills),
            "scheduled_var_prefill_length": spread([prompt for prompt, _, _ in prefills]),
            "scheduled_sum_prefill_kv_tokens": sum(kv for _, _, kv in prefills),
            "scheduled_num_decode_requests": len(decodes),
            "scheduled_sum_decode_kv_tokens": sum(decodes),
            "scheduled_var_decode_kv_tokens": spread(decodes),
        }))  # fmt: skip
        return output

    def update(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        result = self._update(scheduler_output, *args, **kwargs)
        (index,) = [index for index, (output, _) in enumerate(self._batches) if output is scheduler_output]
        _, batch = self._batches.pop(index)
        if scheduler_output.total_num_scheduled_tokens:
            self.passes.append(batch | self.queues())
        return result

    def prompt(self, request_id: str) -> int:
        return int(self.scheduler.requests[request_id].num_prompt_tokens)

    def queues(self) -> dict[str, float]:
        new, preempted = [], []
        second = "skipped_waiting" if hasattr(self.scheduler, "skipped_waiting") else "kv_holding_waiting"
        for request in [*self.scheduler.waiting, *getattr(self.scheduler, second)]:
            if request.status.name == "PREEMPTED":
                preempted.append(request.num_computed_tokens)
            else:
                new.append(request.num_tokens)
        return {
            "queued_num_prefill_requests": len(new),
            "queued_sum_prefill_tokens": sum(new),
            "queued_var_prefill_length": spread(new),
            "queued_num_decode_requests": len(preempted),
            "queued_sum_decode_kv_tokens": sum(preempted),
            "queued_var_decode_kv_tokens": spread(preempted),
        }

    def leave(self) -> None:
        self.scheduler.schedule, self.scheduler.update_from_output = self._schedule, self._update

    def compare(self, run: Any) -> tuple[list[str], float]:
        """Return each difference from what the recording gives, and the share of the steps that it knows."""
        derived = forward_passes(run.iterations, run.requests, run.preemptions).to_pylist()
        if len(derived) != len(self.passes):
            return [f"{len(derived)} forward passes derived, {len(self.passes)} seen"], 0.0
        known = [(mine, row) for mine, row in zip(self.passes, derived, strict=True) if None not in row.values()]
        found = [
            f"forward pass {row['iteration']}: {name} is {row[name]}, the witness counted {value}"
            for mine, row in known
            for name, value in mine.items()
            if abs(row[name] - value) > 1e-9 * abs(value)
        ]
        return found, len(known) / max(1, len(derived))


def spread(values: list[int]) -> float:
    return float(pvariance(values)) if values else 0.0
