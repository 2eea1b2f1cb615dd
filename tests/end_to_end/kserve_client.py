"""Run in an environment that has the kserve package: `kserve_client.py URL MODEL KEY TEXTS`.

It prints what its client got, as JSON.
"""

import asyncio
import json
import sys
from typing import Any

import httpx
from kserve import (  # type: ignore[import-not-found]
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)


async def main(url: str, model: str, key: str, texts: list[str]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        v1 = await client.infer(url, {"instances": texts}, model_name=model, headers=headers)
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        live = await client.is_server_live(url, headers=headers)
        tensor = InferInput("text", [len(texts)], "BYTES", texts)
        request = InferRequest(model, [tensor], request_id="7")
        answer = await client.infer(url, request, model_name=model, headers=headers)
        empty = InferRequest(model, [InferInput("text", [1], "BYTES", [""])])
        try:
            await client.infer(url, empty, model_name=model, headers=headers)
        except httpx.HTTPStatusError as error:
            refused = {"status": error.response.status_code, **error.response.json()}
    return {
        "v1": v1,
        "v2": {output.name: output.data for output in answer.outputs},
        "id": answer.id,
        "labels": answer.parameters["labels"],
        "live": live,
        "refused": refused,
    }


if __name__ == "__main__":
    url, model, key, texts = sys.argv[1:]
    answers = asyncio.run(main(url, model, key, json.loads(texts)))
    sys.stdout.write(json.dumps(answers) + "\n")
