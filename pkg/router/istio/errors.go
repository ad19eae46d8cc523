package istio

import (
	"fmt"

	"github.com/siskin-dev/siskin/pkg/router"
)

func invalid(field, format string, args ...any) error {
	return &router.InvalidError{Router: Name, Field: field, Message: fmt.Sprintf(format, args...)}
}
