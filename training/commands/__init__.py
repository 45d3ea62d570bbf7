"""The commands of `sigrl-train`, grouped by purpose."""
