"""A fleet on one machine: replicas, a gateway and callers, each a host of its own.

hosts        network namespaces on a bridge; one can be cut off
containers   processes with a root, a process tree and a network of their own
manifests    what the chart says: pods, their containers, commands, files
fleet        pods that run what the manifests say, started anew as a kubelet does, and names for them
callers      wrk and curl, which try nothing twice, and what they were answered
faults       what happens to the fleet meanwhile
scaling      an autoscaler, by the formula of Kubernetes' own
following    a fleet whose size that decides
"""
