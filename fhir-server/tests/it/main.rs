mod dhis2;
