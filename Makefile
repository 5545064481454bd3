# Every target calls dev/run, which brings the tools it needs; see docs/development.md.
.DEFAULT_GOAL := help
RUN := dev/run

.PHONY: help demo test test-all lab-up lab-down lab-status lint format sanity unit integration molecule lab-tests benchmarks build tools clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## bring the lab up and show the picture; the lab stays up
	@$(RUN) demo

test: ## everything a change has to pass
	@$(RUN) --keep-going @test

test-all: ## make test with the slow tests, sanity on every Python found, and the benchmarks
	@$(RUN) --all --keep-going @test benchmarks

benchmarks: ## what things cost, side by side; wants a machine that does nothing else
	@$(RUN) benchmarks

lab-up: ## bring the lab up, or do nothing if it is
	@$(RUN) --keep-lab lab-up

lab-down: ## take the lab down
	@$(RUN) lab-down

lab-status: ## what runs in the lab
	@lab/lab status

lint: ## style of Python, shell, YAML, Ansible, Go, changelog, documentation
	@$(RUN) --keep-going @lint

format: ## let ruff and gofmt rewrite what they can
	@$(RUN) format

sanity: ## ansible-test sanity
	@$(RUN) sanity

unit: ## unit tests: pytest, ansible-test units, Go
	@$(RUN) --keep-going @unit

integration: ## each module against the lab
	@$(RUN) integration

molecule: ## every scenario on the lab
	@$(RUN) molecule

lab-tests: ## the lab's own suites
	@$(RUN) lab-tests

build: ## tarball, installed into an empty path
	@$(RUN) build

tools: ## bring all tools, run nothing
	@$(RUN) tools

clean: ## remove build/ (logs, tarball); caches stay
	@rm -rf build
