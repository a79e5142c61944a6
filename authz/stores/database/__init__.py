"""The durable state that replicas share: grants, tasks, revocations and what else must survive and be agreed on."""
