"""How models and data are related: `trace` asks weights whether two models share an ancestor (docs/lineage.md)."""
