# What the benchmark's policy says (bench/world.py: the shipped policy.csv and its additions), for OPA's Envoy plugin.
#
# data.json holds what authz reads from inventory.toml; `python -m bench.peers.opa DIRECTORY` writes it. The same facts
# are looked at as in policy.csv: the caller's entry in the inventory, and what the catalogue says of the path.
package bench.authz

import rego.v1

default allow := false

asked := input.attributes.request.http

caller := data.workloads[input.attributes.source.principal]

segments := split(trim_prefix(split(asked.path, "?")[0], "/"), "/")

cards if {
	segments[0] == "v1"
	segments[1] == "accounts"
	segments[3] == "cards"
}

payments if {
	segments[0] == "v1"
	segments[1] == "payments"
}

cardholder_data if cards

cardholder_data if payments

denied if {
	caller.kind == "agent"
	cardholder_data
}

allow if {
	asked.method == "GET"
	segments[0] == "v1"
	segments[1] == "accounts"
	count(segments) > 2
	caller.kind == "agent"
	caller.environment == "prod"
	caller.clearance >= 2
	not denied
}

allow if {
	asked.method == "GET"
	segments[0] == "v1"
	segments[1] == "documents"
	count(segments) > 2
	caller.kind == "agent"
	caller.labels.team in {"team-0", "team-1", "team-2"}
	not denied
}
