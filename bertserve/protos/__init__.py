"""TorchServe's gRPC APIs: .proto texts for every language, and the stubs that scripts/protos makes."""
