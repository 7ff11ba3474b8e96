# Two commands matter: `make demo` (see it work) and `make test` (see it hold). Both set up everything they need.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint sanity unit pythons cores fuzz page reliability build-check importer docs system molecule pages screenshots coverage mutation lab-up lab-status lab-down build clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing: system packages, virtual environment, collections
	@tests/setup

demo: setup ## Set everything up and run the main job on a docker and an EC2 workspace of the lab
	@.cache/venv/bin/python tests/demo

test: setup ## Set everything up and pass all tests
	@tests/test

lint sanity unit pythons cores fuzz page reliability build-check importer docs system molecule: setup ## One group of the tests
	@tests/test $@

pages: setup ## Write the pages of docs/ that are made from code, and draw the diagrams whose texts have changed (needs Graphviz)
	@cd tests/build && ../../.cache/venv/bin/python write_pages.py

screenshots: setup ## Take the pictures of the audit's page for docs/
	@cd tests/page && ../../.cache/venv/bin/python screenshots.py

coverage: setup ## Which lines and branches the unit tests reach, and whether that is enough
	@tests/coverage

mutation: setup ## Whether the unit tests notice small changes of the code: a sample
	@tests/mutation

lab-up: setup ## Start the lab (Docker engine, workspaces, simulated AWS) and leave it running
	@tests/lab-command up

lab-status: setup ## Show the lab's workspaces
	@tests/lab-command status

lab-down: setup ## Stop the lab and remove everything that it made
	@tests/lab-command down

build: setup ## Build the collection's tarball into build/
	@.cache/venv/bin/ansible-galaxy collection build --force --output-path build

clean: ## Remove the virtual environment and build results (the lab's image cache stays)
	rm -rf .cache build tests/output
