#!/usr/bin/env python3
"""A protoc plugin for the gRPC services in Python: `buf generate` runs it, see buf.gen.yaml.

The generator of grpcio-tools is built into its protoc and is no plugin of its own, so buf cannot call it. This turns
one into the other: the request comes in on standard input, the generator runs on its descriptors in a temporary
folder, and what it wrote goes out on standard output. Needs the package grpcio-tools, and nothing of the system.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def main():
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with tempfile.TemporaryDirectory(prefix="ledgerflux-grpc-python-") as folder:
        descriptors, out = Path(folder, "descriptors.binpb"), Path(folder, "out")
        out.mkdir()
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        parameter = f"{request.parameter}:" if request.parameter else ""
        status = protoc.main(
            ["protoc", f"--descriptor_set_in={descriptors}", f"--grpc_python_out={parameter}{out}"]
            + list(request.file_to_generate)
        )
        if status != 0:
            response.error = f"grpc_tools.protoc ended with {status}"
        else:
            for path in sorted(path for path in out.rglob("*") if path.is_file()):
                response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text(encoding="utf-8"))
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
