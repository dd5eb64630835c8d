.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

demo: ## Plan over real prices, then run, interrupt, resume and bill a real job on this machine
	@bash scripts/demo.sh

demo-continuum: ## Edge hosts, a real Slurm, a simulated cloud and this machine at once, as a live table (root)
	@bash scripts/demo-continuum.sh

test: ## Every check: format, lint, types, layers, tests
	@bash scripts/test.sh

bench: ## The figures of the README and docs, measured now
	@bash scripts/bench.sh

format: ## Format the code
	@bash scripts/setup.sh && .venv/bin/ruff format . && .venv/bin/ruff check --fix .

.PHONY: help demo demo-continuum test bench format
