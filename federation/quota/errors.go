package quota

import (
	"errors"
	"fmt"
)

var (
	// ErrUnavailable means that an event could not be counted, or a key not be
	// remembered. Whoever asked must refuse.
	ErrUnavailable = errors.New("quota: state is not available")
	// ErrFull is the ErrUnavailable of a place that is there and has no room for
	// another key. A caller that was told to go on while a shared store is away
	// must not go on here: whoever sends enough keys could bring it about.
	ErrFull = fmt.Errorf("%w: no room for another key", ErrUnavailable)
)
