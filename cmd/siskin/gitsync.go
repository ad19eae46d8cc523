package main

import (
	ctrl "sigs.k8s.io/controller-runtime"
)

func wireGitSync(_ ctrl.Manager, _ *options) error { return nil }
