"""How large a policy may be, and how much work one of its rules may cause (I12)."""

import msgspec


class PolicyLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on what a model and its policies may contain; a policy beyond one is refused at load."""

    max_rules: int = 100_000
    """Most rows of all policy files together, role grants included."""
    max_line_chars: int = 16_384
    """Longest line of a model or policy file, in characters."""
    max_expression_chars: int = 4_096
    """Longest matcher or sub-rule, in characters."""
    max_expression_nodes: int = 500
    """Most operators, names and literals of a matcher or sub-rule."""
    max_expression_depth: int = 40
    """How deep the parts of a matcher or sub-rule may nest."""
    max_role_depth: int = 10
    """How many grants may lie between a subject and a role that it holds."""
