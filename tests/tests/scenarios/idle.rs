//! What changes nothing writes nothing, and a watch that is cut resumes.
