// Writes the client under src/gen from the contract, proto/ledgerflux.v1.binpb, which is all that protoc-gen-es needs: the build
// of the page asks for Node and nothing else.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { CodeGeneratorRequestSchema, CodeGeneratorResponseSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const here = dirname(fileURLToPath(import.meta.url));
const contract = process.env.LEDGERFLUX_CONTRACT ?? join(here, "../../proto/ledgerflux.v1.binpb");
const { file: protoFile } = fromBinary(FileDescriptorSetSchema, readFileSync(contract));
const fileToGenerate = protoFile.map((file) => file.name).filter((name) => name.startsWith("ledgerflux/"));
const request = create(CodeGeneratorRequestSchema, { protoFile, fileToGenerate, parameter: "target=ts" });
const generator = join(here, "node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es");
const output = execFileSync(process.execPath, [generator], { input: toBinary(CodeGeneratorRequestSchema, request) });
const answer = fromBinary(CodeGeneratorResponseSchema, output);
if (answer.error) throw new Error(answer.error);

const target = join(here, "src/gen");
rmSync(target, { recursive: true, force: true });
for (const file of answer.file) {
  const path = join(target, file.name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, file.content);
}
