package exchange

// Meaning is what an error means to a client, for tests.
type Meaning struct {
	Is                   error
	Reason, Code, Public string
}

// Meanings are the rows of the table, in order.
func Meanings() []Meaning {
	out := make([]Meaning, len(meanings))
	for i, m := range meanings {
		out[i] = Meaning{m.is, m.reason, m.code, m.public}
	}
	return out
}

// MeaningOf classifies an error.
func MeaningOf(err error) Meaning {
	f := classify(err)
	return Meaning{err, f.reason, f.Code, f.Public}
}
